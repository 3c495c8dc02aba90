-- Counts requests that are alike, as many as the limit still allows. `how` says what `shown` is:
--   '-'  nothing: the key is no credential's
--   'c'  the nonce a copy was confirmed with, and `known` its version: is it still to be trusted?
--   'r'  a nonce, for a credential that was just read and whose key has none yet
local is_first_reader = false
if how == 'c' then
  if nonce == NONE or nonce ~= shown or (known < version and clock < ends) then
    return struct.pack(REPLY, -1, 0, 0, 0, NONE)
  end
elseif how == 'r' and nonce == NONE then
  nonce, is_first_reader = shown, true
end

-- The way of nearly every request: nothing leaves the window, no bucket begins, the limit is not passed. What follows
-- would come to the same, and takes longer to begin with.
if counted > 0 and length == window and not is_first_reader and clock >= last and clock - clock % width <= last
  and clock - oldest < window and counted + asked <= limit then
  counted, newest = counted + asked, newest + asked
  if counted == newest then
    oldest = clock
  end
  redis.call('SETRANGE', key, 0, struct.pack('<ddddd', clock, oldest, window, counted, newest))
  return struct.pack(REPLY, asked, counted, oldest + window - clock, 0, nonce)
end
