#!lua flags=allow-oom
-- Gives the next step of the search for objects without a record to one process at a time, and says where it begins.
-- KEYS  1 place (hash)
-- ARGV  1 seconds until the next turn
-- Reply {turn, after which folder} | {wait} | {unclaimed}
local place = redis.call('HMGET', KEYS[1], 'id', 'turn', 'after')
if not place[1] then return {'unclaimed'} end
local now, last = tonumber(redis.call('TIME')[1]), tonumber(place[2] or '0')
if last <= now and now < last + tonumber(ARGV[1]) then return {'wait'} end
redis.call('HSET', KEYS[1], 'turn', now)
return {'turn', place[3] or ''}
