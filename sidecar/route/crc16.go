package route

// crc16Tables[0] is the table of CRC-16/XMODEM, which hash slots are made with
// (cluster specification, appendix A). A byte with k others behind it has what
// crc16Tables[k] says, so eight bytes do not wait for one another ("slicing by
// 8").
var crc16Tables = func() (t [8][256]uint16) {
	for i := range t[0] {
		c := uint16(i) << 8
		for range 8 {
			if c&0x8000 != 0 {
				c = c<<1 ^ 0x1021
			} else {
				c <<= 1
			}
		}
		t[0][i] = c
	}
	for k := 1; k < len(t); k++ {
		for i, c := range t[k-1] {
			t[k][i] = c<<8 ^ t[0][c>>8]
		}
	}
	return t
}()

func crc16(p []byte) uint16 {
	t := &crc16Tables
	var c uint16
	for len(p) >= 8 {
		c = t[7][byte(c>>8)^p[0]] ^ t[6][byte(c)^p[1]] ^ t[5][p[2]] ^ t[4][p[3]] ^
			t[3][p[4]] ^ t[2][p[5]] ^ t[1][p[6]] ^ t[0][p[7]]
		p = p[8:]
	}
	for _, b := range p {
		c = c<<8 ^ t[0][byte(c>>8)^b]
	}
	return c
}
