#!lua
-- Makes a delta whose payload is stored part of the queue.
-- KEYS  1 federation (hash)  2 receipts (hash)  3 outcomes (hash)  4 agents (hash)  5 revoked (set)  6 lineage (hash)
--       7 queue (stream)  8 queued (zset)  9 unclaimed (zset)  10 lifetimes (zset)  11 waiting (zset)
-- ARGV  1 delta id  2 agent id  3 base number  4 base epoch:digest  5 blob id  6 accepted at  7 receipt (JSON)
--       8 delta (JSON)
-- Reply {accepted} | {receipt, receipt (JSON), outcome (JSON) or ''} | {federation_unknown} | {agent_unknown}
--       | {agent_revoked} | {base_in_future, head number} | {base_unknown} | {base_other_branch}
--       | {base_too_old, oldest number} | {queue_full, limit} | {payload_gone}
local federation = redis.call('HMGET', KEYS[1], 'head', 'oldest', 'max_queue')
if not federation[1] then return {'federation_unknown'} end
local receipt = redis.call('HGET', KEYS[2], ARGV[1])
if receipt then return {'receipt', receipt, redis.call('HGET', KEYS[3], ARGV[1]) or ''} end
if redis.call('HEXISTS', KEYS[4], ARGV[2]) == 0 then return {'agent_unknown'} end
if redis.call('SISMEMBER', KEYS[5], ARGV[2]) == 1 then return {'agent_revoked'} end
local head = string.match(federation[1], '^%d+:(%d+):')
if tonumber(ARGV[3]) > tonumber(head) then return {'base_in_future', head} end
local base = redis.call('HGET', KEYS[6], ARGV[3])
if not base then return {'base_unknown'} end
if base ~= ARGV[4] .. ':0' then return {'base_other_branch'} end
if tonumber(ARGV[3]) < tonumber(federation[2]) then return {'base_too_old', federation[2]} end
if redis.call('ZCARD', KEYS[8]) >= tonumber(federation[3]) then return {'queue_full', federation[3]} end
if not redis.call('ZSCORE', KEYS[9], ARGV[5]) then return {'payload_gone'} end

redis.call('HSET', KEYS[2], ARGV[1], ARGV[7])
redis.call('ZADD', KEYS[11], 0, ARGV[2] .. ':' .. ARGV[1])
redis.call('XADD', KEYS[7], '*', 'delta', ARGV[8])
redis.call('ZADD', KEYS[8], ARGV[6], ARGV[1])
redis.call('ZREM', KEYS[9], ARGV[5])
redis.call('ZADD', KEYS[10], '+inf', ARGV[5])
return {'accepted'}
