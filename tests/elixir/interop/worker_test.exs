defmodule DSPex.Interop.WorkerTest do
  # The whole way with the real worker: Elixir, frames, dispatcher, DSPy, the embedded LM.
  use ExUnit.Case, async: true

  alias DSPex.Error
  alias DSPex.Test.Os
  alias DSPex.Event
  alias DSPex.Test.Wait

  @moduletag timeout: 180_000
  @context "Paris is the capital of France. The Seine flows through it. Berlin is the capital of Germany."
  @inputs %{context: @context, question: "What is the capital of France?"}
  @program DSPex.Predict.new("context, question -> answer")

  setup_all do
    start_supervised!({DSPex, name: __MODULE__, pools: [default: [workers: 2, lm: "offline/extractive"]]})
    :ok = DSPex.await_ready(__MODULE__, 120_000)
    :ok
  end

  defp call(program, inputs, options \\ []), do: DSPex.call(program, inputs, [{:instance, __MODULE__} | options])

  defp works, do: assert({:ok, %{outputs: %{"answer" => _answer}}} = call(@program, @inputs))

  @tag req: ["FR1.1.1", "FR1.3.1", "FR1.3.4", "NFR5.1.3"]
  test "Predict answers from its inputs, with usage and metadata" do
    assert {:ok, prediction} = call(@program, @inputs)
    assert prediction["answer"] =~ "Paris"
    assert prediction.fields == ["answer"]
    assert %{"prompt_tokens" => tokens, "lm_calls" => 1} = prediction.usage
    assert tokens > 0

    assert %{"model" => "offline/extractive", "adapter" => "chat", "route" => "python", "worker" => _, "run_ms" => _} =
             prediction.meta
  end

  @tag req: ["FR1.1.1", "FR1.2.3", "FR1.2.4"]
  test "ChainOfThought gives typed outputs in the order of the signature" do
    program = DSPex.ChainOfThought.new("context, question -> answer: str, confidence: float, sources: list[str]")
    assert {:ok, prediction} = call(program, @inputs)
    assert prediction.fields == ["reasoning", "answer", "confidence", "sources"]
    assert is_float(prediction["confidence"])
    assert Enum.all?(prediction["sources"], &is_binary/1)
  end

  @tag req: "FR1.1.2"
  test "every adapter and both encodings give the same answer" do
    answers =
      for adapter <- [:chat, :json, :xml], encoding <- [:json, :msgpack] do
        assert {:ok, prediction} = call(@program, @inputs, adapter: adapter, encoding: encoding)
        assert prediction.meta["adapter"] == Atom.to_string(adapter)
        prediction["answer"]
      end

    assert [_same] = Enum.uniq(answers)
  end

  @tag req: ["FR1.3.3", "FR2.2.4", "OWN-4"]
  test "a stream gives the tokens of the fields and the prediction" do
    events = Enum.to_list(DSPex.stream(@program, @inputs, instance: __MODULE__))
    tokens = for %Event{type: :token, field: "answer"} = event <- events, do: event
    assert length(tokens) > 2
    assert Enum.map(tokens, & &1.last?) |> List.last()
    assert %Event{type: :done, prediction: prediction} = List.last(events)
    assert Enum.map_join(tokens, & &1.text) == prediction["answer"]
    assert events |> Enum.drop(-1) |> Enum.map(& &1.seq) == Enum.to_list(0..(length(events) - 2))
  end

  @tag req: ["FR2.2.4", "OWN-1"]
  test "a stream that is halted is cancelled, and the worker goes on" do
    assert [%Event{type: :token}] = Enum.take(DSPex.stream(@program, @inputs, instance: __MODULE__), 1)
    works()
    idle()
  end

  @tag req: ["FR1.1.4", "FR3.1.4"]
  test "describe tells the fields, their types and instructions" do
    program = DSPex.ChainOfThought.new("question -> answer: int", instructions: "Count.")
    assert {:ok, description} = DSPex.describe(program, instance: __MODULE__)
    assert %{"kind" => "chain_of_thought", "instructions" => "Count.", "outputs" => outputs} = description
    assert %{"type" => "int", "json_schema" => %{"type" => "integer"}} = Enum.find(outputs, &(&1["name"] == "answer"))
  end

  @tag req: ["FR1.2.4", "FR2.2.2", "OWN-7"]
  test "values go there and back unchanged, in both encodings, large ones as attachments" do
    value =
      DSPex.Ordered.new([
        {"z", [1, -1.0, -0.0, nil, true, "Grüße 😀", Integer.pow(2, 200)]},
        {"a", {1, {2.5, []}}},
        {"$type", MapSet.new(["a", "b"])},
        {"nan", :nan},
        {"inf", [:infinity, :neg_infinity]},
        {"bytes", DSPex.Bytes.new(<<0, 255>>)},
        {"large", DSPex.Bytes.new(:binary.copy(<<0, 255, 3>>, 100_000))},
        {"tensor", DSPex.Tensor.from_list("f32", [2, 2], [1.0, 2.0, 3.0, 4.0])},
        {"big tensor", %DSPex.Tensor{dtype: "u8", shape: [300, 400], data: :binary.copy(<<7>>, 120_000)}},
        {"date", ~D[2026-01-02]},
        {"naive", ~N[2026-01-02 03:04:05.123456]},
        {"utc", ~U[2026-01-02 03:04:05Z]},
        {"empty", [%DSPex.Ordered{}, [], ""]}
      ])

    for encoding <- [:json, :msgpack] do
      options = [instance: __MODULE__, encoding: encoding, maps: :ordered]
      assert {:ok, %DSPex.Ordered{pairs: [{"value", back}]}} = DSPex.request("echo", [{"value", value}], options)
      assert back == value
    end
  end

  @tag req: ["FR2.2.3", "OWN-2", "NFR1.2.2", "NFR1.2.3"]
  test "a hundred calls at once are answered each with its own" do
    program = DSPex.Predict.new("context, question -> answer")

    inputs =
      for n <- 1..100,
          do: %{context: "The code of item #{n} is #{n * 7}. Nothing else matters.", question: "code of item #{n}?"}

    outcomes = DSPex.batch(program, inputs, instance: __MODULE__, max_concurrency: 100)

    for {{:ok, prediction}, n} <- Enum.with_index(outcomes, 1), do: assert(prediction["answer"] =~ "#{n * 7}")
    assert length(outcomes) == 100
    assert outcomes |> Enum.map(fn {:ok, prediction} -> prediction.meta["worker"] end) |> Enum.uniq() |> length() == 2
  end

  describe "bad input is the right error, and the next call works:" do
    @describetag req: ["NFR2.2.1", "NFR2.2.2", "NFR4.1.4"]

    test "an unknown method" do
      assert {:error, %Error{reason: :not_found, message: message}} = DSPex.request("no/such", [], instance: __MODULE__)
      assert message =~ "no/such"
      works()
    end

    test "wrong params" do
      assert {:error, %Error{reason: :invalid_request}} =
               DSPex.request("module.call", [{"modul", 1}], instance: __MODULE__)

      assert {:error, %Error{reason: :invalid_request}} = DSPex.request("ping", [{"x", 1}], instance: __MODULE__)
      works()
    end

    test "a signature with a mistake shows the text with a caret" do
      assert {:error, %Error{reason: :signature_error, message: message}} =
               call(DSPex.Predict.new("question -> answer: strin"), %{question: "?"})

      assert message =~ "strin"
      assert message =~ "^"
      works()
    end

    test "an unknown kind of module" do
      program = %{DSPex.Predict.new("question -> answer") | kind: "predictt"}
      assert {:error, %Error{reason: :invalid_request, message: message}} = call(program, %{question: "?"})
      assert message =~ "predictt"
      works()
    end

    test "missing, extra and mistyped inputs, all named at once" do
      program = DSPex.Predict.new("question, n: int -> answer")

      assert {:error, %Error{reason: :invalid_input, details: %{"problems" => problems}}} =
               call(program, %{n: "many", config: %{}})

      assert Enum.sort(Enum.map(problems, & &1["path"])) == ["config", "n", "question"]
      works()
    end

    test "an LM that is not configured" do
      assert {:error, %Error{reason: :not_found, message: message}} = call(@program, @inputs, lm: "gpt-99")
      assert message =~ "gpt-99"
      works()
    end

    test "values that are nested too deep" do
      deep = Enum.reduce(1..80, 0, fn _level, value -> [value] end)
      assert {:error, %Error{reason: :limit_exceeded}} = call(@program, %{context: deep, question: "?"})
      works()
    end

    test "a deadline that is too short" do
      assert {:error, %Error{reason: :timeout}} = call(@program, @inputs, timeout: 0)
      works()
      idle()
    end
  end

  @tag req: ["NFR2.1.1", "NFR2.1.2", "FR2.3.3"]
  test "kill -9 in mid-call: the calls are worker_lost, the pool is whole again, and the programs are not lost" do
    name = Module.concat(__MODULE__, Killed)
    start_supervised!({DSPex, name: name, pools: [default: [workers: 1, lm: "offline/extractive"]]})
    :ok = DSPex.await_ready(name, 120_000)
    assert {:ok, _prediction} = DSPex.call(@program, @inputs, instance: name)
    {:ok, %{default: %{workers: [%{os_pid: os_pid}]}}} = DSPex.info(name)
    {_output, 0} = Os.signal("STOP", os_pid)
    calls = for _n <- 1..8, do: Task.async(fn -> DSPex.call(@program, @inputs, instance: name) end)
    Wait.in_flight(name, 8)
    {_output, 0} = Os.signal("KILL", os_pid)
    for call <- calls, do: assert({:error, %Error{reason: :worker_lost}} = Task.await(call, 60_000))
    assert {:ok, _prediction} = DSPex.call(@program, @inputs, instance: name, timeout: 120_000)
  end

  # Other tests of this module run one after another, so that what is in flight is this test's.
  defp idle, do: Wait.in_flight(__MODULE__, 0)
end
