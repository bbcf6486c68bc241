#!lua
-- Uses a join grant for an agent and its key, once per agent and key, and binds the agent's id to the key.
-- KEYS  1 grant (hash)  2 agents (hash id -> key)  3 revoked (set)
-- ARGV  1 agent id  2 key digest  3 whether the grant is for this agent alone (0/1)  4 channel  5 what to announce
-- Reply {granted} | {unknown} | {spent} | {taken}
local left = redis.call('HGET', KEYS[1], 'left')
if not left then return {'unknown'} end
local holder = redis.call('HGET', KEYS[2], ARGV[1])
local other = holder and holder ~= ARGV[2]
local joined = 'agent:' .. ARGV[1] .. ':' .. ARGV[2]
if redis.call('HEXISTS', KEYS[1], joined) == 1 and holder and not other then return {'granted'} end
if other and ARGV[3] == '0' then return {'taken'} end
if tonumber(left) < 1 then return {'spent'} end
redis.call('HINCRBY', KEYS[1], 'left', -1)
redis.call('HSET', KEYS[1], joined, '1')
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
if other then
  redis.call('SADD', KEYS[3], 'key:' .. holder)
  redis.call('PUBLISH', ARGV[4], ARGV[5])
end
return {'granted'}
