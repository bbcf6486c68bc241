#!lua
-- Notes a blob as unclaimed, unless something has adopted it already.
-- KEYS  1 federation (hash)  2 unclaimed (zset)  3 lifetimes (zset)
-- ARGV  1 blob id  2 begun at
-- Reply {begun, federation exists (0/1)} | {adopted} | {expiring}
local head = redis.call('HGET', KEYS[1], 'head')
local number = head and tonumber(string.match(head, '^%d+:(%d+):')) or -1
local until_number = redis.call('ZSCORE', KEYS[3], ARGV[1])
if until_number then
  if tonumber(until_number) > number then return {'adopted'} end
  return {'expiring'}
end
redis.call('ZADD', KEYS[2], 'GT', ARGV[2], ARGV[1])
return {'begun', head and '1' or '0'}
