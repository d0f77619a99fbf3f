defmodule DSPex.CheckTest do
  # Arguments of the wrong kind, for every function of the front.
  use ExUnit.Case, async: true

  alias DSPex.Error
  alias DSPex.Session
  alias DSPex.Test.Peer

  doctest DSPex.Check

  @program DSPex.Predict.new("question -> answer")
  @inputs %{question: "?"}

  setup_all do
    start_supervised!({DSPex, name: __MODULE__, pools: [default: Peer.pool()]})
    :ok = DSPex.await_ready(__MODULE__)
    :ok
  end

  @tag req: "NFR4.1.3"
  test "an argument of the wrong kind is an error that names it, without a hint about inputs" do
    session = Session.ref("s", instance: __MODULE__)
    options = [instance: __MODULE__]

    for {argument, function} <- [
          {"timeout", fn -> DSPex.await_ready(__MODULE__, :x) end},
          {"timeout", fn -> DSPex.restart(__MODULE__, :default, :x) end},
          {"timeout", fn -> DSPex.health_check(__MODULE__, -1) end},
          {"timeout", fn -> DSPex.call(@program, @inputs, timeout: "soon") end},
          {"timeout", fn -> DSPex.await(DSPex.async(@program, @inputs, options), :x) end},
          {"timeout", fn -> Session.get(session, timeout: :x) end},
          {"async", fn -> DSPex.await(:x) end},
          {"program", fn -> DSPex.call("x", @inputs, options) end},
          {"program", fn -> DSPex.describe(:x, options) end},
          {"program", fn -> DSPex.dump(%{}) end},
          {"program", fn -> DSPex.dump("x", options) end},
          {"program", fn -> DSPex.batch(nil, [@inputs], options) end},
          {"program", fn -> DSPex.evaluate(:x, [], options) end},
          {"program", fn -> DSPex.optimize(:x, [], options) end},
          {"program", fn -> DSPex.stream_to(self(), :x, @inputs, options) end},
          {"program", fn -> Session.call(session, :x, @inputs) end},
          {"inputs_list", fn -> DSPex.batch(@program, :x, options) end},
          {"inputs_list", fn -> DSPex.batch(@program, @inputs, options) end},
          {"max_concurrency", fn -> DSPex.batch(@program, [], max_concurrency: 0) end},
          {"inputs", fn -> DSPex.call(@program, "x", options) end},
          {"inputs", fn -> DSPex.call(@program, [1, 2], options) end},
          {"options", fn -> DSPex.call(@program, @inputs, :x) end},
          {"options", fn -> DSPex.evaluate(@program, [], :x) end},
          {"options", fn -> DSPex.LM.list(:x) end},
          {"options", fn -> DSPex.LM.test(nil, %{}) end},
          {"options", fn -> Session.open(:x) end},
          {"options", fn -> Session.get(session, "k") end},
          {"options", fn -> Session.put(session, %{}, "k") end},
          {"options", fn -> Session.call(session, @program, @inputs, "k") end},
          {"options", fn -> Session.list("k") end},
          {"options", fn -> Session.import(%{}, "k") end},
          {"options", fn -> Session.bind(session, "k") end},
          {"options", fn -> DSPex.load("{}", :x) end},
          {"id", fn -> Session.open(id: 5) end},
          {"session", fn -> Session.get("s") end},
          {"session", fn -> Session.close(nil) end},
          {"text", fn -> DSPex.load(%{}) end},
          {"tools", fn -> DSPex.load("{}", tools: [:x]) end},
          {"tools", fn -> DSPex.react("q -> a", :x, @inputs, options) end},
          {"signature", fn -> DSPex.predict(:x, @inputs, options) end},
          {"signature", fn -> DSPex.chain_of_thought(5, @inputs, options) end},
          {"method", fn -> DSPex.request(:ping, [], options) end},
          {"params", fn -> DSPex.request("ping", :x, options) end}
        ] do
      assert {:error, %Error{reason: :invalid_input, message: message, hint: nil}} = function.()
      assert message =~ ~r/^#{argument} is .*; it must be /
    end
  end

  @tag req: "NFR4.1.3"
  test "the hint of an error fits its cause: wrong options and sizes have none, a pool's name its own" do
    options = [instance: __MODULE__]

    for function <- [
          fn -> DSPex.call(@program, @inputs, [{:nope, 1} | options]) end,
          fn -> DSPex.call(@program, @inputs, [{:implementation, :rust} | options]) end,
          fn -> DSPex.call(@program, @inputs, [{:execution, [nope: 1]} | options]) end,
          fn -> DSPex.call(@program, @inputs, [{:cache, :x} | options]) end,
          fn -> DSPex.evaluate(@program, :x, options) end,
          fn -> DSPex.resize(__MODULE__, :default, -1) end,
          fn -> Session.open([{:nope, 1} | options]) end,
          fn -> DSPex.load("[]") end,
          fn -> DSPex.lm_client([]) end
        ] do
      assert {:error, %Error{reason: :invalid_input, hint: nil} = error} = function.()
      refute Exception.message(error) =~ "declared input fields"
      # On the wire every error has one.
      assert is_binary(Error.to_object(error)["data"]["hint"])
    end

    for function <- [
          fn -> DSPex.call(@program, @inputs, [{:pool, :nope} | options]) end,
          fn -> DSPex.restart(__MODULE__, :nope) end,
          fn -> DSPex.status(__MODULE__, :nope) end
        ] do
      assert {:error, %Error{reason: :not_found, hint: hint}} = function.()
      assert hint =~ "option pools:"
    end
  end

  test "streams and async calls raise that error" do
    for function <- [
          fn -> Enum.to_list(DSPex.stream("x", @inputs)) end,
          fn -> Enum.to_list(Session.stream(Session.ref("s"), @program, @inputs, :x)) end,
          fn -> DSPex.async(@program, @inputs, :x) end,
          fn -> DSPex.call!(@program, :x) end
        ] do
      assert %Error{reason: :invalid_input} = assert_raise(Error, function)
    end
  end

  test "constructors raise an ArgumentError that says what they take" do
    for {words, function} <- [
          {"best_of_n: its program is a text", fn -> DSPex.BestOfN.new("q -> a") end},
          {"refine: its program is a text", fn -> DSPex.Refine.new("q -> a") end},
          {"parallel: its program is a text", fn -> DSPex.Parallel.new("q -> a") end},
          {"refine: its options are :x", fn -> DSPex.Refine.new(@program, :x) end},
          {"chain: its steps are", fn -> DSPex.Chain.new(["q -> a"]) end},
          {"custom: its import is", fn -> DSPex.Custom.new(:x) end},
          {"a signature is a text", fn -> DSPex.Predict.new(:x) end},
          {"predict: its options are", fn -> DSPex.Predict.new("q -> a", %{}) end},
          {"the name of an LM is a text", fn -> DSPex.LM.with(@program, :big) end},
          {"the program is :x", fn -> DSPex.LM.with(:x, "big") end}
        ] do
      assert Exception.message(assert_raise(ArgumentError, function)) =~ words
    end
  end
end
