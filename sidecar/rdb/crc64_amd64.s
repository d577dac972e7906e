#include "textflag.h"

// func fold(crc uint64, p *byte, n int, k *[4]uint64) (lo, hi uint64)
//
// n is a multiple of 16 and at least 16. X0 holds the 128 bits folded so far.
TEXT ·fold(SB), NOSPLIT, $0-48
	MOVQ   crc+0(FP), X0
	MOVQ   p+8(FP), SI
	MOVQ   n+16(FP), CX
	MOVQ   k+24(FP), DX
	MOVOU  (SI), X1
	PXOR   X1, X0
	MOVOU  (DX), X8
	CMPQ   CX, $128
	JB     single

	// Four lanes of 16 bytes, each folded over 64 bytes.
	MOVOU  16(SI), X1
	MOVOU  32(SI), X2
	MOVOU  48(SI), X3
	MOVOU  16(DX), X9
	ADDQ   $64, SI
	SUBQ   $64, CX

four:
	MOVOA  X0, X4
	MOVOA  X1, X5
	MOVOA  X2, X6
	MOVOA  X3, X7
	PCLMULQDQ $0x00, X9, X0
	PCLMULQDQ $0x00, X9, X1
	PCLMULQDQ $0x00, X9, X2
	PCLMULQDQ $0x00, X9, X3
	PCLMULQDQ $0x11, X9, X4
	PCLMULQDQ $0x11, X9, X5
	PCLMULQDQ $0x11, X9, X6
	PCLMULQDQ $0x11, X9, X7
	PXOR   X4, X0
	PXOR   X5, X1
	PXOR   X6, X2
	PXOR   X7, X3
	MOVOU  (SI), X4
	MOVOU  16(SI), X5
	MOVOU  32(SI), X6
	MOVOU  48(SI), X7
	PXOR   X4, X0
	PXOR   X5, X1
	PXOR   X6, X2
	PXOR   X7, X3
	ADDQ   $64, SI
	SUBQ   $64, CX
	CMPQ   CX, $64
	JAE    four

	// The lanes into one.
	MOVOA  X0, X4
	PCLMULQDQ $0x00, X8, X0
	PCLMULQDQ $0x11, X8, X4
	PXOR   X4, X0
	PXOR   X1, X0
	MOVOA  X0, X4
	PCLMULQDQ $0x00, X8, X0
	PCLMULQDQ $0x11, X8, X4
	PXOR   X4, X0
	PXOR   X2, X0
	MOVOA  X0, X4
	PCLMULQDQ $0x00, X8, X0
	PCLMULQDQ $0x11, X8, X4
	PXOR   X4, X0
	PXOR   X3, X0
	JMP    check

single:
	ADDQ   $16, SI
	SUBQ   $16, CX

check:
	TESTQ  CX, CX
	JZ     done

one:
	MOVOA  X0, X4
	PCLMULQDQ $0x00, X8, X0
	PCLMULQDQ $0x11, X8, X4
	PXOR   X4, X0
	MOVOU  (SI), X4
	PXOR   X4, X0
	ADDQ   $16, SI
	SUBQ   $16, CX
	JNZ    one

done:
	MOVQ   X0, lo+32(FP)
	PSRLDQ $8, X0
	MOVQ   X0, hi+40(FP)
	RET
