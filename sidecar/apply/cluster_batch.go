package apply

import (
	"bytes"
	"encoding/binary"
	"strconv"

	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
)

// batchScript runs a batch and moves the frontier. It has no shebang, so keys
// of any slot of the node may be touched (scripting compatibility since 7.0;
// the only rule before). When a command fails, the frontier moves to the one
// before it. A key that was to have a deadline and is not there is noted as
// pending.
//
// KEYS: the frontier, the node's pending keys. ARGV: the field that is moved;
// the offset after the last command; the one after each command, see
// appendMark; what appendRuns made; then the arguments of the commands that are
// not in there. Each argument of a script costs the server more than a text
// within one that is unpacked at once.
//
// The answer is 0; or {"", indices of commands that found no key...}; or the
// same beginning with {error, index of the failed command}.
const batchScript = `local packed,argv,unpack,pcall,call,type=cmsgpack.unpack(ARGV[4]),ARGV,unpack,redis.pcall,redis.call,type
local i,ai,k,n,out=1,5,0,#packed,{''}
local function failed(at,text)
if at>1 then
local hi,lo,m=0,0,9*(at-2)
for j=m+1,m+5 do hi=hi*256+string.byte(argv[3],j) end
for j=m+6,m+9 do lo=lo*256+string.byte(argv[3],j) end
call('HSET',KEYS[1],argv[1],string.match(string.format('%.0f%09.0f',hi,lo),'^0*(%d+)$'))
end
out[1]=text
table.insert(out,2,at)
return out
end
while i<=n do
local h,times,name=packed[i],packed[i+1],packed[i+2]
i=i+3
if name and h==1 then
for j=1,times do
local r=pcall(name,packed[i])
if type(r)=='table' and r.err and r.err~='ERR no such key' then return failed(k+j,r.err) end
i=i+1
end
elseif name and h==2 then
for j=1,times do
local r=pcall(name,packed[i],packed[i+1])
if type(r)=='table' and r.err and r.err~='ERR no such key' then return failed(k+j,r.err) end
i=i+2
end
else
local src,p,c,d,g=packed,i,h%16384,h%32768>=16384,h>=32768
if not name then src,p=argv,ai end
for j=1,times do
local key,r,note,skip=src[p],0,d,false
if not name then key=src[p+1] end
if g then r=pcall('EXISTS',key) skip=r~=1 note=r==0 end
if skip then
elseif name then r=pcall(name,unpack(src,p,p+c-1))
else r=pcall(unpack(src,p,p+c-1)) end
if note and r==0 then call('SADD',KEYS[2],key) out[#out+1]=k+j end
if type(r)=='table' and r.err and r.err~='ERR no such key' then return failed(k+j,r.err) end
p=p+c
end
if name then i=p else ai=p end
end
k=k+times
end
call('HSET',KEYS[1],argv[1],argv[2])
if #out>1 then return out end
return 0`

// What describes a run of commands to batchScript: the number of arguments in
// the lower bits, and what to do about the key.
const (
	headDeadline = 1 << 14 // they set a deadline or take one away
	headCareful  = 1 << 15 // they are left out, and the key is noted, where there is no such key
	headMax      = 1<<14 - 1
)

// unpackLimit is how many arguments a script can hand to one command (Lua's
// stack, LUAI_MAXCSTACK 8000).
const unpackLimit = 7000

// packUpTo is the size in bytes up to which the arguments of a command go in the
// packed list. For longer ones it gains little. A token of package bulk, which
// must stay an argument, is too long for it.
const packUpTo = 80

// pack chooses the commands that go in the packed list: short ones, up to
// BatchBytes of them, since the list is one argument, which a server limits.
func pack(cmds []nodeCommand) {
	room := BatchBytes
	for i := range cmds {
		c := &cmds[i]
		size := c.to - c.body
		if c.packed = size <= min(packUpTo, room) && !c.ours(); c.packed {
			room -= size
		}
	}
}

// script appends the EVAL of commands, which moves a field of the frontier.
func (t *Cluster) script(dst []byte, n *clusterNode, field string, cmds []nodeCommand, raw []byte) []byte {
	pack(cmds)
	var args int
	t.packed, args = appendRuns(t.packed[:0], cmds, raw)
	dst = append(dst, '*')
	dst = strconv.AppendInt(dst, int64(9+args), 10)
	dst = append(dst, "\r\n"...)
	for _, a := range []string{"EVAL", batchScript, "2", t.frontierKey(n.tag), t.pendingKey(n.tag), field} {
		dst = resp.AppendBulk(dst, a)
	}
	dst = resp.AppendInt(dst, cmds[len(cmds)-1].mark)
	dst = resp.AppendBulkHead(dst, int64(markSize*len(cmds)))
	for i := range cmds {
		dst = appendMark(dst, cmds[i].mark)
	}
	dst = append(dst, "\r\n"...)
	dst = resp.AppendBulk(dst, t.packed)
	for i := range cmds {
		if !cmds[i].packed {
			dst = t.appendScripted(dst, n, &cmds[i], raw)
		}
	}
	return dst
}

// appendRuns appends a list, as MessagePack, of runs of commands that are
// described by the same numbers: those, the number of commands, their name, and
// the arguments of all. The name is false where the arguments, with the name,
// are not in the list; args is the number of those.
func appendRuns(dst []byte, cmds []nodeCommand, raw []byte) (list []byte, args int) {
	const arrayOf32 = 0xdd
	at := len(dst)
	dst = append(dst, arrayOf32, 0, 0, 0, 0)
	items := uint32(0)
	for i := 0; i < len(cmds); {
		c := &cmds[i]
		head := c.head()
		var name []byte
		if c.packed {
			_, rest := cutArgument(raw[c.body:c.to])
			name = raw[c.body : c.to-len(rest)]
		}
		end := i + 1
		for end < len(cmds) && cmds[end].head() == head && cmds[end].packed == c.packed && bytes.HasPrefix(raw[cmds[end].body:], name) {
			end++
		}
		dst = appendPackedInt(appendPackedInt(dst, head), end-i)
		items += 3
		if !c.packed {
			dst = append(dst, 0xc2) // false
			for ; i < end; i++ {
				args += cmds[i].scripted()
			}
			continue
		}
		text, _ := cutArgument(name)
		dst = appendPackedText(dst, text)
		for ; i < end; i++ {
			for rest := raw[cmds[i].body+len(name) : cmds[i].to]; len(rest) > 0; items++ {
				text, rest = cutArgument(rest)
				dst = appendPackedText(dst, text)
			}
		}
	}
	binary.BigEndian.PutUint32(dst[at+1:], items)
	return dst, args
}

// head describes the command, see batchScript. More arguments than it can say
// are more than unpack can hand on, so the script fails.
func (c *nodeCommand) head() int {
	h := min(c.scripted(), headMax)
	if c.packed {
		h-- // its name is beside it
	}
	switch {
	case c.ours():
	case c.deadline:
		h |= headDeadline
	case c.careful:
		h |= headCareful
	}
	return h
}

// scripted is the number of arguments, with the name, that a command takes in a
// batch.
func (c *nodeCommand) scripted() int {
	if c.ours() {
		return c.argc + 1
	}
	return c.argc
}

// appendScripted appends the arguments of a command.
func (t *Cluster) appendScripted(dst []byte, n *clusterNode, c *nodeCommand, raw []byte) []byte {
	if !c.ours() {
		return append(dst, raw[c.body:c.to]...)
	}
	name := len("$4\r\nSADD\r\n")
	dst = append(dst, raw[c.body:c.body+name]...)
	dst = resp.AppendBulk(dst, t.pendingKey(n.tag))
	return append(dst, raw[c.body+name:c.to]...)
}

// markSize is the width of an offset in the text of batchScript: 5 bytes of
// thousand millions and 4 of the rest. Lua's numbers are exact up to 2^53 only.
const markSize = 9

// appendMark appends an offset in markSize bytes.
func appendMark(dst []byte, mark int64) []byte {
	const million = 1_000_000
	hi, lo := uint64(mark)/(1000*million), uint32(uint64(mark)%(1000*million))
	dst = append(dst, byte(hi>>32))
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(dst, uint32(hi)), lo)
}

// cutArgument cuts the first argument off arguments with their framing, which
// was looked at when they were read.
func cutArgument(p []byte) (text, rest []byte) {
	n, i := 0, len("$")
	for ; p[i] != '\r'; i++ {
		n = 10*n + int(p[i]-'0')
	}
	i += len("\r\n")
	return p[i : i+n], p[i+n+len("\r\n"):]
}

// appendPackedInt appends a number from 0 to 2^32-1 as MessagePack.
func appendPackedInt(dst []byte, n int) []byte {
	if n < 128 {
		return append(dst, byte(n))
	}
	return binary.BigEndian.AppendUint32(append(dst, 0xce), uint32(n))
}

// appendPackedText appends a text of up to 255 bytes as MessagePack.
func appendPackedText(dst, p []byte) []byte {
	if len(p) < 32 {
		dst = append(dst, 0xa0|byte(len(p)))
	} else {
		dst = append(dst, 0xd9, byte(len(p)))
	}
	return append(dst, p...)
}
