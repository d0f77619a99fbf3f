defmodule DSPex.RouterTest do
  use ExUnit.Case, async: true

  alias DSPex.Error
  alias DSPex.Router
  alias DSPex.Test.OpenAI
  alias DSPex.Test.Peer

  @moduletag req: ["FR4.1.1", "OWN-5"]
  @program DSPex.Predict.new("q -> answer")

  # The scripted peer answers as a Python worker does; the fake server answers the native client.
  defp start(name, options \\ []) do
    url = OpenAI.start()
    native = [lms: [default: [model: "openai/any", base_url: url, api_key_env: nil, retries: 0]]]
    pools = Keyword.get(options, :pools, default: Peer.pool(%{}, workers: 1))
    own = Keyword.take(options, [:cache])
    native = Keyword.merge(native, Keyword.get(options, :native, []))
    start_supervised!({DSPex, [name: name, pools: pools, native: native] ++ own})
    if pools != [], do: :ok = DSPex.await_ready(name)
    OpenAI.control(url, %{"default" => %{"fields" => %{"answer" => "from Elixir"}}})
    url
  end

  defp call(name, options \\ []), do: DSPex.call(@program, %{q: "?"}, [{:instance, name} | options])
  defp route({:ok, prediction}), do: prediction.meta["route"]
  defp table(name), do: name |> DSPex.Instance.table() |> elem(1)

  @tag req: "FR4.1.3"
  test "the caller's choice wins, and what it rules out is an error that says why" do
    start(__MODULE__.Override)
    assert route(call(__MODULE__.Override, implementation: :native)) == "native"
    assert route(call(__MODULE__.Override, implementation: :python)) == "python"
    react = DSPex.ReAct.new("q -> answer")

    assert {:error, %Error{reason: :invalid_input} = error} =
             DSPex.call(react, %{q: "?"}, instance: __MODULE__.Override, implementation: :native)

    assert error.message =~ "react runs only in Python"
    assert {:error, %Error{message: message}} = call(__MODULE__.Override, implementation: :ruby)
    assert message =~ "must be :auto, :native or :python"
  end

  test "what only one side can goes there; sessions and other kinds are Python's" do
    start(__MODULE__.Capability)
    name = __MODULE__.Capability
    assert route(DSPex.call(DSPex.ReAct.new("q -> answer"), %{q: "?"}, instance: name)) == "python"
    assert route(call(name, session: "s")) == "python"
    assert route(call(name, lm: "another")) == "python"
    assert {:ok, why} = Router.explain(DSPex.ReAct.new("q -> answer"), instance: name)
    assert why == "react runs in Python (capability): react runs only in Python"
  end

  test "both sides can: the preference decides, and is told in words" do
    start(__MODULE__.Native)
    start(__MODULE__.Python, native: [prefer: :python])
    assert route(call(__MODULE__.Native)) == "native"
    assert route(call(__MODULE__.Python)) == "python"
    assert {:ok, why} = Router.explain(@program, instance: __MODULE__.Python)
    assert why =~ "predict runs in Python (preference)"
    assert why =~ "if it fails before anything happened, Elixir takes over"
  end

  @tag req: ["NFR2.1.1", "OWN-8"]
  test "without any pool everything that can be native is, and the rest says what is missing" do
    start(__MODULE__.Alone, pools: [])
    assert route(call(__MODULE__.Alone)) == "native"

    assert {:error, %Error{reason: :unavailable, message: message}} =
             DSPex.call(DSPex.ReAct.new("q -> a"), %{q: "?"}, instance: __MODULE__.Alone)

    assert message =~ "react runs only in Python"
    assert message =~ "the instance has no pool"
  end

  @tag req: ["NFR2.1.1", "FR4.1.1"]
  test "while Python is down or full, Elixir answers" do
    name = __MODULE__.Down
    start(name, native: [prefer: :python])
    {:ok, pool} = DSPex.Pool.fetch(table(name), :default)
    DSPex.Pool.Slots.put_state(pool.slots, 1, :down)
    assert {:ok, %{rule: :availability, route: :native}} = Router.decide(table(name), @program, [])
    DSPex.Pool.Slots.put_state(pool.slots, 1, :ready)
    DSPex.Pool.Slots.put_bound(pool.slots, 1, 0)
    assert {:ok, %{rule: :load, route: :native}} = Router.decide(table(name), @program, [])
    assert route(call(name)) == "native"
  end

  @tag req: "FR4.1.4"
  test "measured latencies are used once both sides have enough of them, and decisions are counted and told" do
    name = __MODULE__.Latency
    start(name)
    test = self()
    handler = fn _event, _measures, metadata, _config -> send(test, {:decided, metadata}) end
    DSPex.Telemetry.attach(name, [:dspex, :router, :decision], handler, nil)
    ms = System.convert_time_unit(1, :millisecond, :native)
    for _n <- 1..20, do: Router.Latency.observe(table(name), :native, "predict", 50 * ms)
    assert {:ok, %{rule: :preference}} = Router.decide(table(name), @program, [])
    for _n <- 1..20, do: Router.Latency.observe(table(name), :python, "predict", 5 * ms)
    assert route(call(name)) == "python"
    DSPex.Telemetry.detach(name)
    assert_received {:decided, %{route: :python, rule: :latency, kind: "predict", why: why}}
    assert why =~ "5.0 ms there on average"
    assert {:ok, stats} = Router.stats(name)
    assert stats.decisions[{:python, :latency}] == 1
    assert stats.latency_ms[{:native, "predict"}] == 50.0
  end

  @tag req: "FR4.1.2"
  test "a side that fails before anything happened is replaced once; wrong input is nobody's fault but the caller's" do
    name = __MODULE__.Fallback
    url = OpenAI.start()
    lms = [default: [model: "openai/any", base_url: url, api_key_env: "DSPEX_NO_SUCH_KEY"]]
    start_supervised!({DSPex, name: name, pools: [default: Peer.pool(%{}, workers: 1)], native: [lms: lms]})
    :ok = DSPex.await_ready(name)
    assert {:ok, prediction} = call(name)
    assert prediction.meta["route"] == "python"
    assert prediction.meta["route_reason"] =~ "Elixir failed before anything happened"

    assert {:error, %Error{reason: :invalid_input}} =
             DSPex.call(@program, %{k: "?"}, instance: name, implementation: :native)

    {:ok, %{decisions: decisions}} = Router.stats(name)
    assert decisions[{:python, :fallback}] == 1
  end

  @tag req: ["FR1.3.3", "OWN-1"]
  test "a native stream has tokens and the prediction, and stops the LM when it is halted" do
    name = __MODULE__.Stream
    url = start(name)

    OpenAI.push(url, [
      %{"fields" => %{"answer" => "one two three"}},
      %{"text" => "[[ ## answer ## ]]\non and on ", "endless" => true, "pace" => 0.01}
    ])

    events = @program |> DSPex.stream(%{q: "?"}, instance: name) |> Enum.to_list()
    assert %DSPex.Event{type: :done, prediction: %{meta: %{"route" => "native"}}} = List.last(events)
    assert events |> Enum.filter(&(&1.type == :token)) |> Enum.map_join(& &1.text) == "one two three"

    assert [%DSPex.Event{type: :token}] = @program |> DSPex.stream(%{q: "?"}, instance: name) |> Enum.take(1)
    assert {200, _seen} = OpenAI.await(url, "disconnects=1")
    assert Process.info(self(), :messages) == {:messages, []}
  end

  @tag req: "OWN-1"
  test "async calls and streams to a process end with their owner, natively too" do
    name = __MODULE__.Owner
    url = start(name)

    for {start, seen} <- [
          {fn -> DSPex.async(@program, %{q: "?"}, instance: name) end, 1},
          {fn -> DSPex.stream_to(self(), @program, %{q: "?"}, instance: name) end, 2}
        ] do
      OpenAI.push(url, [%{"stall" => true}])

      {:ok, owner} =
        Task.start(fn ->
          start.()
          receive do: (:never -> :ok)
        end)

      assert {200, _state} = OpenAI.await(url, "requests=#{seen}")
      Process.exit(owner, :kill)
      assert {200, _state} = OpenAI.await(url, "disconnects=#{seen}")
    end
  end

  @tag req: ["EX-7", "NFR1.2.1"]
  test "a cached call asks nobody the second time, and tenants never share" do
    name = __MODULE__.Cached
    url = start(name, cache: [max_entries: 10])
    assert {:ok, %{meta: %{"cache" => "miss"}}} = call(name, cache: true)
    assert {:ok, %{meta: %{"cache" => "hit"}} = hit} = call(name, cache: true)
    assert hit["answer"] == "from Elixir"
    assert {:ok, %{meta: %{"cache" => "miss"}}} = call(name, cache: true, tenant: "other")
    {200, %{"requests" => requests}} = OpenAI.await(url, "requests=2")
    assert length(requests) == 2
    assert {:error, %Error{reason: :invalid_input}} = call(name, cache: true, session: "s")
    assert {:error, %Error{message: message}} = call(name, cache: 5)
    assert message =~ "it must be true or false"
  end

  test "wrong options of native and cache are told with their path" do
    for {options, text} <- [
          {[native: [lms: [default: []]]], "native.lms.default.model is nil"},
          {[native: [lms: [default: [model: "m", url: 1]]]], "native.lms.default.url is no option"},
          {[native: [prefer: :both]], "native.prefer is :both"},
          {[native: 5], "native is 5"},
          {[cache: [size: 1]], "cache is [size: 1]"}
        ] do
      assert_raise ArgumentError, ~r/#{Regex.escape(text)}/, fn -> DSPex.Options.instance!([name: X] ++ options) end
    end
  end
end
