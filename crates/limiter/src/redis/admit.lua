-- The rest of what `proof.lua` begins.
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
  return struct.pack(REPLY, 0, counted, (counted > 0 and oldest or now) + window - clock, frees + window - clock, nonce)
end

-- A bucket is written into its slot when a later one begins.
local has_moved = counted == 0 or place(last) ~= place(now)
local closed = has_moved and counted > 0 and {place(last) % SLOTS, struct.pack('<I4I6', newest, last)}
if has_moved then
  newest = 0
end
local admitted = math.min(asked, limit - counted)
counted, newest, last = counted + admitted, newest + admitted, now
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
-- Where not all were admitted, the limit is reached exactly: the oldest bucket's leaving lets the next one in.
local reset = oldest + window - clock
return struct.pack(REPLY, admitted, counted, reset, reset, nonce)
