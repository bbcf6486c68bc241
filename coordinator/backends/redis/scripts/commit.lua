#!lua flags=allow-oom
-- Publishes a merge. Everything is checked before the first write, since scripts do not roll back. Runs even when the
-- store is full: a merge frees more than it takes.
-- KEYS  1 federation (hash)  2 versions (hash)  3 lineage (hash)  4 queue (stream)  5 queued (zset)  6 outcomes (hash)
--       7 merged (hash)  8 weights (hash)  9 unclaimed (zset)  10 lifetimes (zset)  11 settled (zset)
-- ARGV  1 fencing token  2 expected head  3 number of the new version  4 its digest  5 its body (JSON)
--       6 outcome of its deltas (JSON)  7 consumer group  8 channel  9 name of the federation
--       10 how many blobs the version has, then pairs: blob id, for how many versions it is kept, or '' for as many as
--       the federation keeps
--       then fives: entry id, delta id, agent id, weight, blob id
--       A head is written epoch:number:digest.
-- Reply {committed} | {already} | {fenced, newest token} | {head_moved, head} | {delta_not_queued, delta id}
--       | {blob_missing, blob id} | {federation_unknown}
local federation = redis.call('HMGET', KEYS[1], 'head', 'epoch', 'keep_versions', 'keep_deltas')
local head, number = federation[1], tonumber(ARGV[3])
if not head then return {'federation_unknown'} end
local new_head = ARGV[1] .. ':' .. ARGV[3] .. ':' .. ARGV[4]
if head == new_head then return {'already'} end
if federation[2] ~= ARGV[1] then return {'fenced', federation[2]} end
if head ~= ARGV[2] then return {'head_moved', head} end
local first_blob, last_blob = 11, 10 + 2 * tonumber(ARGV[10])
for i = last_blob + 1, #ARGV, 5 do
  local entry, delta = ARGV[i], ARGV[i + 1]
  local claimed = #redis.call('XPENDING', KEYS[4], ARGV[7], entry, entry, 1) == 1
  if not claimed or not redis.call('ZSCORE', KEYS[5], delta) then return {'delta_not_queued', delta} end
end
for i = first_blob, last_blob, 2 do
  local until_number = redis.call('ZSCORE', KEYS[10], ARGV[i])
  local adopted = until_number and tonumber(until_number) >= number
  if not adopted and not redis.call('ZSCORE', KEYS[9], ARGV[i]) then return {'blob_missing', ARGV[i]} end
end

local keep_versions = tonumber(federation[3])
redis.call('HSET', KEYS[2], ARGV[3], ARGV[5])
redis.call('HSET', KEYS[3], ARGV[3], ARGV[1] .. ':' .. ARGV[4] .. ':0')
for i = first_blob, last_blob, 2 do
  redis.call('ZREM', KEYS[9], ARGV[i])
  redis.call('ZADD', KEYS[10], 'GT', number + (tonumber(ARGV[i + 1]) or keep_versions), ARGV[i])
end
local delta_until = number + tonumber(federation[4])
for i = last_blob + 1, #ARGV, 5 do
  local entry, delta, agent, weight, blob = unpack(ARGV, i, i + 4)
  redis.call('XACK', KEYS[4], ARGV[7], entry)
  redis.call('XDEL', KEYS[4], entry)
  redis.call('ZREM', KEYS[5], delta)
  redis.call('HSET', KEYS[6], delta, ARGV[6])
  redis.call('ZADD', KEYS[11], number, delta)
  redis.call('HINCRBY', KEYS[7], agent, 1)
  redis.call('HINCRBYFLOAT', KEYS[8], agent, weight)
  redis.call('ZADD', KEYS[10], delta_until, blob)
end
redis.call('HSET', KEYS[1], 'head', new_head, 'oldest', math.max(0, number - keep_versions + 1), 'restores', '')
redis.call('PUBLISH', ARGV[8], ARGV[9])
return {'committed'}
