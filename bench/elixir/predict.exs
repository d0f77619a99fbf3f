# Predict through the bridge, and natively, against the same acall in one Python process and behind FastAPI, with an LM that
# answers at once on each side.
Code.require_file("support.exs", __DIR__)

defmodule Bench.InstantHttp do
  @moduledoc "An LM that answers at once, without a socket, as the embedded LM does in Python."
  @behaviour DSPex.Native.LM.Http

  @answer ~S({"model":"m","choices":[{"message":{"content":"[[ ## answer ## ]]\ngreen\n\n[[ ## completed ## ]]"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}})

  @impl true
  def post(_url, _headers, body, _timeout), do: byte_size(IO.iodata_to_binary(body))
  @impl true
  def next(_handle, _timeout), do: {:response, 200, [], @answer}
  @impl true
  def close(_handle), do: :ok
end

signature = "context, question -> answer"
inputs = %{"context" => "The mill is red. The barn is green.", "question" => "How is the barn?"}
program = DSPex.Predict.new(signature)

instance = Bench.start_instance(lm: "offline/extractive")
acall = Bench.open("acall.py")

order = fn count, concurrent ->
  {:ok, json, []} =
    DSPex.Wire.Json.encode(%{count: count, concurrent: concurrent, signature: signature, inputs: inputs})

  {:ok, samples} = DSPex.Wire.Json.decode(Bench.ask(acall, json))
  samples
end

call = fn -> {:ok, _} = DSPex.call(program, inputs, instance: instance) end

{ours, baseline} = Bench.paired(5, fn -> Bench.times(100, call) end, fn -> order.(100, 1) end)
Bench.report(id: "predict", name: "Predict, one at a time", unit: "us", samples: ours, baseline: baseline, goal: "")

{ours, baseline} =
  Bench.paired(5, fn -> [Bench.rate(64, 1_000, call)] end, fn -> [1_000 / (hd(order.(1_000, 64)) / 1.0e6)] end)

Bench.report(
  id: "predict",
  name: "Predict, 64 in flight, one worker",
  unit: "1/s",
  samples: ours,
  baseline: baseline,
  goal: "",
  better: "higher"
)

native = [lms: [default: [model: "openai/any", base_url: "http://any/v1", api_key_env: nil, http: Bench.InstantHttp]]]
{:ok, _pid} = DSPex.start_link(name: Bench.Native, pools: [], native: native)
call_native = fn -> {:ok, %{meta: %{"route" => "native"}}} = DSPex.call(program, inputs, instance: Bench.Native) end
fastapi = Bench.open("fastapi_acall.py")

per_second = fn ->
  order = %{count: 640, concurrent: 64, signature: signature, inputs: inputs}
  [640 / (hd(Bench.order(fastapi, order)) / 1.0e6)]
end

{ours, baseline} = Bench.paired(5, fn -> [Bench.rate(64, 6_400, call_native)] end, per_second)

Bench.report(
  id: "predict",
  name: "native Predict, 64 in flight, over FastAPI with acall",
  unit: "1/s",
  samples: ours,
  baseline: baseline,
  goal: "",
  better: "higher"
)

{ours, baseline} =
  Bench.paired(5, fn -> [Bench.rate(64, 6_400, call_native)] end, fn -> [Bench.rate(64, 1_000, call)] end)

Bench.report(
  id: "predict",
  name: "native Predict, 64 in flight, over one worker",
  unit: "1/s",
  samples: ours,
  baseline: baseline,
  goal: "",
  better: "higher"
)
