package apply

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis-sync/kubectl-redis-sync/internal/wire"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/conn"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/resp"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/rewrite"
	"github.com/redis-sync/kubectl-redis-sync/sidecar/route"
)

// A source before 5.0, or before 7.0 with lua-replicate-commands no, replicates
// a script as the EVAL that ran it (scripting.c, evalGenericCommand). A cluster
// takes no transaction of that and the frontier, so the script is run as a
// function inside of one of ours, which moves the frontier as its last command:
// both or neither.
//
// Some things are as they were on such a source. What it gave a script in order
// (CMD_SORT_FOR_SCRIPT in server.c) is sorted, which servers that replicate
// effects do not do, and random numbers begin at the same seed. A number becomes
// the text that C's "%.17g" makes of it (scripting.c, luaRedisGenericCommand),
// where Redis 8.0 and Valkey 8.0 write the shortest one that means the same: 0.1
// there, 0.10000000000000001 here. And an error of
// a command is raised as a text.
//
// An error that the source cannot have met (no memory, a key on another node)
// ends the script. Where it has written nothing before, it is run again; else
// the copy has diverged.

// sourceScript runs a script of the source. KEYS: the frontier, the node's
// pending keys; or, where the checkpoint is in the same transaction, whatever
// the script declares. ARGV: the field of the frontier, the offset after the
// script, both empty in the second case; 1 where only declared keys may be
// touched; the number of declared keys; the script; its keys; its arguments.
//
// The answer is 0, or {error, whether something was written, the key or ""};
// in the second case the error alone, after afterWrite if something was.
const sourceScript = `local real,top,argv=redis,KEYS,ARGV
if real.replicate_commands then real.replicate_commands() end
math.randomseed(0)
local cluster,strict,n=argv[1]~='',argv[3]=='1',tonumber(argv[4])
local keys,args,declared={},{},{}
for i=1,n do keys[i]=argv[5+i] declared[argv[5+i]]=true end
for i=6+n,#argv do args[#args+1]=argv[i] end
local function set(words) local s={} for w in string.gmatch(words,'%a+') do s[w]=true end return s end
local sorted=set('smembers sinter sunion sdiff hkeys hvals keys')
local reads=set([[get mget getrange strlen getbit bitcount bitpos exists type ttl pttl dump object hget hmget hgetall
hexists hlen hstrlen hkeys hvals llen lindex lrange lpos scard sismember smembers smismember sinter sunion sdiff
zcard zscore zmscore zcount zlexcount zrank zrevrank zrange zrangebyscore zrangebylex zrevrange zrevrangebyscore
zrevrangebylex xlen xrange xrevrange xpending xinfo xread geopos geodist geohash pfcount keys dbsize scan sscan
hscan zscan time ping echo srandmember randomkey memory]])
local keyless=set('time ping echo publish dbsize scan keys randomkey select')
local own=set('WRONGTYPE NOGROUP BUSYGROUP BUSYKEY UNBLOCKED')
local pending=cluster and real.call('EXISTS',top[2])==1
local lost,key,dirty=nil,'',0
local function foreign(e)
for _,text in ipairs({'non local key','to the same slot','undeclared keys were accessed','slot not served','cluster is down',
'nknown Redis command','ACL failure',"can't run this command",'luster mode'}) do
if string.find(e,text,1,true) then return true end
end
local code=string.match(e,'^%-?(%u+) ')
return code~=nil and code~='ERR' and not own[code]
end
local function plain(e) return string.match(e,'@user_script: ?%d+: %-(.*)') or string.match(e,'@user_script: ?%d+: (.*)') or e end
local second=set('bitop object xgroup xinfo memory')
local every=set('del unlink touch exists mget sinter sunion sdiff sinterstore sunionstore sdiffstore pfcount pfmerge')
local two=set('rename renamenx smove lmove blmove rpoplpush brpoplpush copy geosearchstore zrangestore')
local pairs2=set('mset msetnx')
local blocking=set('blpop brpop bzpopmin bzpopmax')
local counted={zunion=2,zinter=2,zdiff=2,zunionstore=3,zinterstore=3,zdiffstore=3}
local stores=set('sort georadius georadiusbymember')
local function keysof(name,a,n)
local list={}
local function take(from,to,step)
for i=from,math.min(to,n),step or 1 do list[#list+1]=tostring(a[i]) end
end
if keyless[name] then return list end
if name=='xread' or name=='xreadgroup' then
for i=2,n do
if string.lower(tostring(a[i]))=='streams' then take(i+1,i+math.floor((n-i)/2)) break end
end
elseif counted[name] then
local at=counted[name]
take(2,at-1)
take(at+1,at+(tonumber(a[at]) or 0))
elseif second[name] then take(3,name=='bitop' and n or 3)
elseif every[name] then take(2,n)
elseif pairs2[name] then take(2,n,2)
elseif blocking[name] then take(2,n-1)
else take(2,two[name] and 3 or 2) end
if stores[name] then
for i=3,n-1 do
local word=string.lower(tostring(a[i]))
if word=='store' or word=='storedist' then take(i+1,i+1) end
end
end
return list
end
local function slot(k)
local c,tag=0,string.match(k,'^[^{]*{([^}]+)}') or k
for i=1,#tag do
c=bit.bxor(c,bit.lshift(string.byte(tag,i),8))
for _=1,8 do
local carry=c>=32768
c=bit.band(bit.lshift(c,1),65535)
if carry then c=bit.bxor(c,4129) end
end
end
return c%16384
end
local function elsewhere(list)
local home=slot(keys[1])
for _,k in ipairs(list) do
if slot(k)~=home then return k end
end
end
local function misplaced(e)
return string.find(e,'non local key',1,true) or string.find(e,'to the same slot',1,true) or string.find(e,'undeclared keys were accessed',1,true)
end
local function less(a,b) return (a or '')<(b or '') end
local function fail(e,k) lost=e key=tostring(k or '') return {err=e} end
local function run(...)
if lost then return {err=lost} end
local a,n={...},select('#',...)
for i=1,n do
if type(a[i])=='number' then a[i]=string.format('%.17g',a[i]) end
end
local name=string.lower(tostring(a[1]))
local list=keysof(name,a,n)
if strict then
for _,k in ipairs(list) do
if not declared[k] then return fail('UNDECLARED the script touches a key that it does not declare',k) end
end
end
if cluster and name=='select' and a[2]~='0' then
return fail('UNDECLARED the script selects a database, of which a cluster has one',a[2])
end
if pending then
for i=2,n do
if type(a[i])=='string' and not declared[a[i]] and real.call('SISMEMBER',top[2],a[i])==1 then
return fail('UNDECLARED the script touches a key that it does not declare and that is being fetched from the source',a[i])
end
end
end
local r=real.pcall(unpack(a,1,n))
if type(r)=='table' and r.err then
local e=plain(r.err)
if foreign(e) or name=='select' then
local odd=cluster and #list>1 and misplaced(e) and elsewhere(list)
if odd then return fail('UNDECLARED a command of the script takes keys of several slots, one of them is',odd) end
return fail(e,list[1])
end
return {err=e}
end
if type(r)=='table' and sorted[name] then table.sort(r,less) end
if not reads[name] then dirty=1 end
return r
end
local function call(...)
local r=run(...)
if type(r)=='table' and r.err then error(r.err,0) end
return r
end
local compiled,bad=loadstring('return function(KEYS,ARGV,redis) '..argv[5]..'\nend')
if not compiled then lost='ERR the script cannot be compiled: '..tostring(bad)
elseif cluster and n>0 then
local r=real.pcall('EXISTS',unpack(keys))
if type(r)=='table' and r.err then fail(plain(r.err),keys[1]) end
end
if not lost then
local ok,r=pcall(compiled(),keys,args,setmetatable({call=call,pcall=run},{__index=real}))
if ok and not lost and type(r)=='table' and type(r.err)=='string' and string.find(r.err,'` + rewrite.ErrorCode + `',1,true)==1 then fail(r.err,keys[1]) end
end
if not cluster then
if lost then return real.error_reply('` + rewrite.ErrorCode + ` '..(dirty==1 and '` + afterWrite + `' or '')..lost) end
return 0
end
if lost then return {lost,dirty,key} end
real.call('HSET',top[1],argv[1],argv[2])
return 0`

// afterWrite begins what is said of a script that ended in the middle.
const afterWrite = "ended in the middle: "

// sourceScriptArgs are what follows the keys of sourceScript for an EVAL.
// The keys of a script must have been found by route.Keys.
func sourceScriptArgs(field, mark, strict string, eval [][]byte) []string {
	words := []string{field, mark, strict, string(eval[2]), string(eval[1])}
	for _, a := range eval[3:] {
		words = append(words, string(a))
	}
	return words
}

// wrapped is an EVAL of the source for a server that runs it in the transaction
// of its checkpoint.
func wrapped(eval [][]byte, keys int) []byte {
	words := []string{"EVAL", sourceScript, strconv.Itoa(keys)}
	for _, k := range eval[3 : 3+keys] {
		words = append(words, string(k))
	}
	return resp.AppendCommand(nil, append(words, sourceScriptArgs("", "", "0", eval)...)...)
}

// runScript runs a script of the source with the frontier after it. strict:
// other keys than the declared ones may be behind it, ahead of it, or
// elsewhere, so it must not touch any.
func (t *Cluster) runScript(n *clusterNode, over *conn.Conn, c *looseCommand, field string, strict bool) error {
	eval := parseArgs(c.raw)
	only := "0"
	if strict {
		only = "1"
	}
	words := []string{"EVAL", sourceScript, "2", t.frontierKey(n.tag), t.pendingKey(n.tag)}
	words = append(words, sourceScriptArgs(field, strconv.FormatInt(c.mark, 10), only, eval)...)
	if err := t.o.write(over, resp.AppendCommand(nil, words...)); err != nil {
		return err
	}
	r, err := resp.ReadReply(over.W)
	if err != nil {
		return &resp.ReadError{Err: err}
	}
	if err := r.Err(); err != nil {
		if unreadable(err) {
			return dataError(c.raw, 0, err)
		}
		return targetError(r.Text)
	}
	if r.Kind == ':' {
		return nil
	}
	if r.Kind != '*' || len(r.Elems) != 3 || r.Elems[0].Kind != '$' || r.Elems[1].Kind != ':' {
		return &resp.ReadError{Err: fmt.Errorf("%w: the answer to a script of the source is not what it returns", resp.ErrProtocol)}
	}
	failed, dirty, key := targetError(r.Elems[0].Text), r.Elems[1].Int != 0, r.Elems[2].Text
	switch { // what is wrapped here would be waited out
	case dirty:
		return dataError(c.raw, 0, fmt.Errorf("a script of the source ended in the middle, at key %q: %s", key, failed.Error()))
	case resp.IsCode(failed, "MOVED") && route.Slot([]byte(key)) != c.slot:
		return dataError(c.raw, 0, fmt.Errorf("a script of the source touches key %q, which it does not declare and which is on another node", key))
	case resp.IsCode(failed, "UNDECLARED"):
		return dataError(c.raw, 0, fmt.Errorf("%s: %q", failed.Error(), key))
	case !transient(failed):
		return dataError(c.raw, 0, failed)
	}
	return failed
}

// targetError is the error of a command that a script ran.
func targetError(text string) error {
	server := resp.NewServerError(bareError(text))
	has := func(part string) bool { return strings.Contains(server.Text, part) }
	switch { // scripting.c of 6.0; scriptVerifyClusterState in script.c since 7.0
	case has("non local key"):
		return &resp.ServerError{Code: "MOVED", Text: "a slot is on the move"}
	case has("undeclared keys were accessed during rehashing"):
		return &resp.ServerError{Code: "TRYAGAIN", Text: "a slot is on the move"}
	case has("slot not served"), has("while the cluster is down"):
		return &resp.ServerError{Code: "CLUSTERDOWN", Text: server.Text}
	case deniedInScript(server.Text):
		return &resp.ServerError{Code: "NOPERM", Text: server.Text}
	}
	return server
}

// KeepScript keeps a script in the target.
func (s *Standalone) KeepScript(ctx context.Context, sha, body string) error {
	return s.Everywhere(ctx, "HSET", wire.ScriptsKey(s.o.Identity.Pair, s.o.Identity.Shard), sha, body)
}

// DropScripts forgets all scripts that were kept.
func (s *Standalone) DropScripts(ctx context.Context) error {
	return s.Everywhere(ctx, "UNLINK", wire.ScriptsKey(s.o.Identity.Pair, s.o.Identity.Shard))
}

// Script reads a script that was kept.
func (s *Standalone) Script(ctx context.Context, sha string) (body string, ok bool, err error) {
	if s.prev != nil { // its answer comes first
		if err := s.await(ctx); err != nil {
			return "", false, err
		}
	}
	err = s.alone(ctx, func() error {
		r, err := s.c.Do("HGET", wire.ScriptsKey(s.o.Identity.Pair, s.o.Identity.Shard), sha)
		body, ok = r.Text, err == nil && !r.Null
		return err
	})
	return body, ok, err
}

// KeepScript keeps a script on the node that has the keys of the pair.
func (t *Cluster) KeepScript(ctx context.Context, sha, body string) error {
	_, err := t.holderDo(ctx, "HSET", wire.ScriptsKey(t.o.Identity.Pair, t.o.Identity.Shard), sha, body)
	return err
}

// DropScripts forgets all scripts that were kept.
func (t *Cluster) DropScripts(ctx context.Context) error {
	_, err := t.holderDo(ctx, "UNLINK", wire.ScriptsKey(t.o.Identity.Pair, t.o.Identity.Shard))
	return err
}

// Script reads a script that was kept.
func (t *Cluster) Script(ctx context.Context, sha string) (body string, ok bool, err error) {
	r, err := t.holderDo(ctx, "HGET", wire.ScriptsKey(t.o.Identity.Pair, t.o.Identity.Shard), sha)
	return r.Text, err == nil && !r.Null, err
}

// holderDo asks the node that has the keys of the pair, after everything that
// is in flight.
func (t *Cluster) holderDo(ctx context.Context, args ...string) (r resp.Reply, err error) {
	if err := t.answers(ctx); err != nil {
		return r, err
	}
	if err := t.Settle(ctx); err != nil {
		return r, err
	}
	err = t.again(ctx, func() error {
		if t.holder.c == nil {
			return errGone
		}
		r, err = t.holder.c.Do(args...)
		return err
	})
	return r, err
}
