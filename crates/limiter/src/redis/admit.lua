-- Counts a request, if it is within the limit. What follows `how` is
--   ''      nothing: the key is no credential's
--   'copy'  the version of a copy, and the nonce it was confirmed with: is it still to be trusted?
--   'read'  a nonce, for a credential that was just read and whose key has none yet
-- Replies: outcome (0 refused, 1 admitted, 2 the copy is stale), counted, milliseconds until something leaves the
-- window, milliseconds until the next request is admitted, and the key's nonce.
local limit, how = tonumber(ARGV[3]), ARGV[4]
local is_first_reader = false
if how == 'copy' then
  if nonce == NONE or nonce ~= ARGV[6] or (tonumber(ARGV[5]) < version and clock < ends) then
    return {2, 0, 0, 0, NONE}
  end
elseif how == 'read' and nonce == NONE then
  nonce, is_first_reader = ARGV[5], true
end

if counted >= limit then
  local frees = counted > 0 and oldest or now
  -- One bucket's leaving is enough, unless the limit was lowered while they were being counted.
  if counted > limit then
    local left, at_place = counted, place(oldest)
    while left >= limit and at_place <= place(last) do
      local count, at = bucket(at_place)
      if count > 0 then
        left, frees = left - count, at
      end
      at_place = at_place + 1
    end
  end
  if is_first_reader or is_void then
    save()
    keep()
  end
  return {0, counted, (counted > 0 and oldest or now) + window - clock, frees + window - clock, nonce}
end

-- A bucket is written into its slot when a later one begins.
local has_moved = counted == 0 or place(last) ~= place(now)
local closed = has_moved and counted > 0 and {place(last) % SLOTS, struct.pack('<I4I6', newest, last)}
if has_moved then
  newest = 0
end
counted, newest, last = counted + 1, newest + 1, now
if counted == newest then
  oldest = now
end
save()
if closed then
  redis.call('SETRANGE', key, HEADER + closed[1] * SLOT, closed[2])
end
if has_moved or is_first_reader then
  keep()
end
return {1, counted, oldest + window - clock, 0, nonce}
