package rewrite

import (
	"bytes"
	"strconv"
)

// ErrorCode begins the errors of our scripts. A script of the source that
// fails on the target failed there as well; one of ours must not.
const ErrorCode = "NOTREWRITTEN"

// eval is EVAL of one of the scripts below with its keys.
func eval(script string, keys ...[]byte) Command {
	c := Command{[]byte("EVAL"), []byte(script), strconv.AppendInt(nil, int64(len(keys)), 10)}
	return append(c, keys...)
}

// Ours reports whether a command is EVAL of one of the scripts below.
func Ours(args Command) bool {
	return len(args) > 1 && bytes.HasPrefix(args[1], []byte(scriptHead))
}

// The scripts run on servers before 7.0 only. They replicate effects, since
// some ask for the time, and turn any error into one with our code.
const (
	scriptHead = "redis.replicate_commands() local c=redis.call local ok,e=pcall(function() "
	scriptTail = " end) if ok then return 0 end return redis.error_reply('" + ErrorCode + " '..tostring(e))"
)

// copyScript: KEYS source, destination; ARGV [database]. PTTL tells what is
// left of a deadline; the deadline itself is known when the clock shows the
// same millisecond before and after.
const copyScript = scriptHead + `
local p=c('DUMP',KEYS[1])
if not p then return end
local function now() local t=c('TIME') return t[1]*1000+math.floor(t[2]/1000) end
local at=0
while true do
local a=now()
local left=c('PTTL',KEYS[1])
if left<0 then break end
if now()==a then at=a+left break end
end
if ARGV[1] then c('SELECT',ARGV[1]) end
c('RESTORE',KEYS[2],string.format('%.0f',at),p,'REPLACE','ABSTTL')` + scriptTail

// lmoveScript: KEYS source, destination; ARGV the command that pops and the
// one that pushes.
const lmoveScript = scriptHead + `
local t=c('TYPE',KEYS[2]).ok
if t~='list' and t~='none' then error('the destination is no list') end
local v=c(ARGV[1],KEYS[1])
if v then c(ARGV[2],KEYS[2],v) end` + scriptTail

// zaddScript: KEYS the set; ARGV gt or lt, 1 for XX, then scores and members.
const zaddScript = scriptHead + `
for i=3,#ARGV,2 do
local have=c('ZSCORE',KEYS[1],ARGV[i+1])
local s=tonumber(ARGV[i])
if not s then error('a score is no number') end
local set=ARGV[2]~='1'
if have then
have=tonumber(have)
if ARGV[1]=='gt' then set=s>have else set=s<have end
end
if set then c('ZADD',KEYS[1],ARGV[i],ARGV[i+1]) end
end` + scriptTail

// storeScript writes the flat list z of scores and members to KEYS[1].
const storeScript = `
c('DEL',KEYS[1])
for i=1,#z,1000 do c('ZADD',KEYS[1],unpack(z,i,math.min(i+999,#z))) end`

// zrangestoreScript: KEYS destination, source; ARGV scores or lex, the
// command that reads the range, and its arguments after the key.
const zrangestoreScript = scriptHead + `
local r=c(ARGV[2],KEYS[2],unpack(ARGV,3))
local z={}
if ARGV[1]=='lex' then
for i=1,#r do z[#z+1]=c('ZSCORE',KEYS[2],r[i]) z[#z+1]=r[i] end
else
for i=1,#r,2 do z[#z+1]=r[i+1] z[#z+1]=r[i] end
end` + storeScript + scriptTail

// zdiffstoreScript: KEYS destination, first, those that are taken off it.
const zdiffstoreScript = scriptHead + `
local kind={}
for k=2,#KEYS do kind[k]=c('TYPE',KEYS[k]).ok end
local r,z={},{}
if kind[2]=='set' then
for _,m in ipairs(c('SMEMBERS',KEYS[2])) do r[#r+1]=m r[#r+1]='1' end
else
r=c('ZRANGE',KEYS[2],0,-1,'WITHSCORES')
end
for i=1,#r,2 do
local stays=true
for k=3,#KEYS do
if kind[k]=='set' then stays=stays and c('SISMEMBER',KEYS[k],r[i])==0
else stays=stays and not c('ZSCORE',KEYS[k],r[i]) end
end
if stays then z[#z+1]=r[i+1] z[#z+1]=r[i] end
end` + storeScript + scriptTail

// minIDScript: KEYS the stream; ARGV the two numbers of the least id that
// stays, and, for XADD, the id and the fields of the entry. Numbers have up to
// 20 digits, too many for Lua's, so they are compared as text.
const minIDScript = scriptHead + `
if #ARGV>2 and #c('XRANGE',KEYS[1],ARGV[3],ARGV[3])==0 then c('XADD',KEYS[1],unpack(ARGV,3)) end
local function less(a,b) if #a~=#b then return #a<#b end return a<b end
while true do
local r=c('XRANGE',KEYS[1],'-','+','COUNT',100)
local old={}
for i=1,#r do
local ms,seq=string.match(r[i][1],'^(%d+)-(%d+)$')
if less(ms,ARGV[1]) or ms==ARGV[1] and less(seq,ARGV[2]) then old[#old+1]=r[i][1] end
end
if #old==0 then break end
c('XDEL',KEYS[1],unpack(old))
end` + scriptTail

// consumerScript: KEYS the stream; ARGV group, consumer. Asking for its own
// pending entries after the last id but one (the last stands for ">") makes a
// consumer and changes nothing else.
const consumerScript = scriptHead + `
c('XREADGROUP','GROUP',ARGV[1],ARGV[2],'COUNT',1,'STREAMS',KEYS[1],'18446744073709551615-18446744073709551614')` + scriptTail

// xclaimScript: KEYS the stream; ARGV what follows the key in XCLAIM: group,
// consumer, 0, id...
const xclaimScript = scriptHead + `
if #c('XRANGE',KEYS[1],ARGV[4],ARGV[4])==0 then c('XACK',KEYS[1],ARGV[1],ARGV[4])
else c('XCLAIM',KEYS[1],unpack(ARGV)) end` + scriptTail
