#!lua flags=allow-oom
-- Forgets receipts of deltas that were settled so many versions ago that their bases are not retained any more.
-- KEYS  1 federation (hash)  2 settled (zset)  3 receipts (hash)  4 outcomes (hash)
-- ARGV  1 for how many versions a receipt is kept  2 at most so many
-- Reply {done, how many} | {federation_unknown}
local head = redis.call('HGET', KEYS[1], 'head')
if not head then return {'federation_unknown'} end
local newest = tonumber(string.match(head, '^%d+:(%d+):')) - tonumber(ARGV[1])
local old = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', newest, 'LIMIT', 0, ARGV[2])
if #old > 0 then
  redis.call('HDEL', KEYS[3], unpack(old))
  redis.call('HDEL', KEYS[4], unpack(old))
  redis.call('ZREM', KEYS[2], unpack(old))
end
return {'done', #old}
