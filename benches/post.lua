-- For wrk: posts one REALTIMEGPS message of 88 bytes, the same each time. At the end one line:
-- result REQUESTS REQUESTS/S ERROR_ANSWERS BROKEN_CONNECTIONS P50_MS P99_MS
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/x-protobuf"
wrk.body = "\x0a\x0a\x62\x75\x73\x2d\x30\x30\x30\x30\x34\x32\x12\x06\x08\x80\xe2\xcf\xaa\x06\x19\xff\z
  \x41\x24\x43\x8e\x11\x48\x40\x21\xa4\xe1\x94\xb9\xf9\x26\x27\x40\x29\x00\x00\x00\x00\x00\z
  \x3c\x80\x40\x35\x00\x00\x58\x41\x3d\x00\xa0\x87\x43\x4d\x66\x66\x66\x3f\x50\x0b\x58\x03\z
  \x60\x01\x68\x95\x9a\xef\x3a\x70\x01\x78\xe7\x24\x82\x01\x07\x4d\x2d\x57\x53\x20\x34\x32"

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format("result %d %.0f %d %d %.2f %.2f\n",
    summary.requests, summary.requests / (summary.duration / 1e6), errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
