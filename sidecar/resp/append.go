package resp

import "strconv"

// AppendCommand appends a command as an array of bulk strings.
func AppendCommand(dst []byte, args ...string) []byte {
	dst = append(dst, '*')
	dst = strconv.AppendInt(dst, int64(len(args)), 10)
	dst = append(dst, "\r\n"...)
	for _, a := range args {
		dst = AppendBulk(dst, a)
	}
	return dst
}

// AppendBulk appends one argument of a command.
func AppendBulk[T string | []byte](dst []byte, p T) []byte {
	dst = append(AppendBulkHead(dst, int64(len(p))), p...)
	return append(dst, "\r\n"...)
}

// AppendBulkHead appends what comes before an argument of n bytes.
func AppendBulkHead(dst []byte, n int64) []byte {
	dst = append(dst, '$')
	dst = strconv.AppendInt(dst, n, 10)
	return append(dst, "\r\n"...)
}

// AppendInt appends a number as one argument.
func AppendInt(dst []byte, n int64) []byte {
	var digits [20]byte
	return AppendBulk(dst, strconv.AppendInt(digits[:0], n, 10))
}
