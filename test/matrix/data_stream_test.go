package matrix

import "fmt"

func writeStreams(w *writer) {
	w.do("XADD", w.key("one"), "1-1", "f", "v", "f", "a second value of the same field")
	for i := range 300 { // more than one node
		w.do("XADD", w.key("many"), fmt.Sprintf("%d-1", i+1), "f", i, fmt.Sprint("g", i%3), noise(40, uint64(i)))
	}
	w.do("XDEL", w.key("many"), "7-1", "100-1", "300-1")
	w.do("XADD", w.key("emptied"), "5-5", "f", "v")
	w.do("XDEL", w.key("emptied"), "5-5")
	w.do("XGROUP", "CREATE", w.key("created empty"), "g", "0", "MKSTREAM")
	w.do("XADD", w.key("trimmed"), "1-1", "f", "v")
	w.do("XADD", w.key("trimmed"), "2-1", "f", "v")
	w.do("XTRIM", w.key("trimmed"), "MAXLEN", 1)
	w.do("XADD", w.key("large id"), "18446744073709551614-18446744073709551615", "f", "v")
}

func touchStreams(w *writer) {
	w.do("XADD", w.key("many"), "400-1", "f", "v")
	w.do("XADD", w.key("many"), "MAXLEN", "~", 100, "*", "f", "v")
	w.do("XDEL", w.key("one"), "1-1")
	w.do("XADD", w.key("emptied"), "6-1", "f", "v")
}

func writeGroups(w *writer) {
	k := w.key("stream")
	for i := range 50 {
		w.do("XADD", k, fmt.Sprintf("%d-1", i+1), "f", i)
	}
	w.do("XGROUP", "CREATE", k, "g", "0")
	w.do("XGROUP", "CREATE", k, "at the end", "$")
	w.do("XGROUP", "CREATE", k, "\x00binary\xff", "10-0")
	w.do("XREADGROUP", "GROUP", "g", "c1", "COUNT", 20, "STREAMS", k, ">")
	w.do("XREADGROUP", "GROUP", "g", "c2", "COUNT", 5, "STREAMS", k, ">")
	w.do("XREADGROUP", "GROUP", "\x00binary\xff", "\x00c", "NOACK", "COUNT", 5, "STREAMS", k, ">")
	w.do("XACK", k, "g", "1-1", "2-1", "21-1")
	w.do("XCLAIM", k, "g", "c2", 0, "3-1", "RETRYCOUNT", 7)
	w.do("XDEL", k, "5-1") // pending and deleted
	if w.e.atLeast(6, 2) {
		w.do("XGROUP", "CREATECONSUMER", k, "g", "never read")
	}
}

func touchGroups(w *writer) {
	k := w.key("stream")
	w.do("XREADGROUP", "GROUP", "g", "c3", "COUNT", 4, "STREAMS", k, ">")
	w.do("XACK", k, "g", "4-1")
	w.do("XCLAIM", k, "g", "c3", 0, "6-1")
	w.do("XGROUP", "DELCONSUMER", k, "g", "c2")
	w.do("XGROUP", "SETID", k, "at the end", "30-0")
	w.do("XGROUP", "DESTROY", k, "\x00binary\xff")
	w.do("XADD", k, "60-0", "f", "v")
}
