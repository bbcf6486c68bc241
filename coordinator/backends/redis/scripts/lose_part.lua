#!lua flags=allow-oom
-- Takes the note of a part away, whose object is gone or damaged: so that whoever resumes the upload sends it again.
-- KEYS  1 blob (hash)
-- ARGV  1 index  2 folder of the blob's parts  3 the note
-- Reply {lost} | {other}
if redis.call('HGET', KEYS[1], 'begun') ~= ARGV[2] or redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[3] then
  return {'other'}
end
redis.call('HDEL', KEYS[1], ARGV[1])
return {'lost'}
