# Where attachments begin to pay: byte strings there and back beside the message, over the same ones inside of it. The default
# of `attachment_bytes` lies where the ratio crosses 1, in JSON, the default encoding.
Code.require_file("support.exs", __DIR__)

options = [engine: "scripted", start: :fresh]
beside = Bench.start_instance([name: Bench.Beside, attachment_bytes: 0] ++ options)
inside = Bench.start_instance([name: Bench.Inside, attachment_bytes: 536_870_911] ++ options)

for encoding <- [:json, :msgpack], size <- [256, 1_024, 4_096, 16_384, 65_536] do
  value = DSPex.Bytes.new(:crypto.strong_rand_bytes(size))

  echo = fn instance ->
    Bench.times(200, fn ->
      {:ok, _back} = DSPex.request("echo", [{"value", value}], instance: instance, encoding: encoding)
    end)
  end

  {ours, baseline} = Bench.paired(4, fn -> echo.(beside) end, fn -> echo.(inside) end)
  name = "#{size} bytes in #{encoding}, attached over inline"
  Bench.report(id: "attach", name: name, unit: "us", samples: ours, baseline: baseline)
end
