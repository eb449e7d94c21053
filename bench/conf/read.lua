-- One read as shotgun_api3 3.10 sends it.
wrk.method = "POST"
wrk.body = [====[{{.Body}}]====]
wrk.headers["user-agent"] = "shotgun-json (3.10.3); Python 3.11 (Linux); ssl OpenSSL 3.0.19 27 Jan 2026"
wrk.headers["content-type"] = "application/json; charset=utf-8"
wrk.headers["connection"] = "keep-alive"
wrk.headers["accept-encoding"] = "gzip, deflate"

function done(summary, latency)
  local e = summary.errors
  io.write(string.format("result %d %d %d %d %d %d %d %d %d\n",
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect, e.read, e.write, e.status, e.timeout))
end
