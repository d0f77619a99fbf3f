defmodule DSPex.BreakerTest do
  use ExUnit.Case, async: true

  doctest DSPex.Policy.CircuitBreaker
  doctest DSPex.Policy.Pace

  alias DSPex.Breaker
  alias DSPex.Error
  alias DSPex.Policy.CircuitBreaker
  alias DSPex.Policy.Pace
  alias DSPex.Test.Peer
  alias DSPex.Test.Wait
  alias DSPex.Transport.Memory

  @moduletag req: "NFR2.1.3"
  @program DSPex.Predict.new("question -> answer")
  @inputs %{question: "?"}

  defp call(instance, options \\ []), do: DSPex.call(@program, @inputs, [{:instance, instance} | options])

  describe "the policy" do
    test "only failures in a row open it, and only time lets a probe through" do
      breaker = CircuitBreaker.new(failures: 3, open_ms: 100)
      broken = breaker |> CircuitBreaker.failure(0) |> CircuitBreaker.failure(1)
      assert :ok = CircuitBreaker.ask(broken, 2)
      assert CircuitBreaker.success(broken, 2).count == 0
      open = CircuitBreaker.failure(broken, 10)
      assert {CircuitBreaker.state(open, 10), CircuitBreaker.state(open, 110)} == {:open, :half_open}
      assert {:open, 1} = CircuitBreaker.ask(open, 109)
      assert {:probe, _probing} = CircuitBreaker.ask(open, 110)
    end

    test "half-open, one probe at a time: its failure opens again, its silence lets another one through" do
      open = CircuitBreaker.failure(CircuitBreaker.new(failures: 1, open_ms: 100), 0)
      {:probe, probing} = CircuitBreaker.ask(open, 100)
      assert {:open, 100} = CircuitBreaker.ask(probing, 100)
      assert {:probe, _another} = CircuitBreaker.ask(probing, 200)
      assert {:probe, _another} = CircuitBreaker.ask(CircuitBreaker.neutral(probing), 101)
      again = CircuitBreaker.failure(probing, 150)
      assert {:open, 99} = CircuitBreaker.ask(again, 151)
    end

    test "what began before it opened neither closes it nor keeps it open" do
      open = CircuitBreaker.failure(CircuitBreaker.new(failures: 1, open_ms: 100), 0)
      assert CircuitBreaker.success(open, 50) == open
      assert {:probe, _probing} = open |> CircuitBreaker.failure(50) |> CircuitBreaker.ask(100)
    end

    test "a queue that gets slower is expected to be slower, one that is empty or stands still is not judged" do
      pace = Enum.reduce(0..10, Pace.new(), &Pace.step(&2, &1 * 10))
      assert Pace.wait(pace, 5, 100) == 50
      slower = Enum.reduce(1..50, pace, &Pace.step(&2, 100 + &1 * 100))
      assert Pace.wait(slower, 5, 5_100) in 490..500
      assert Pace.wait(Pace.pause(slower), 5, 5_100) == nil
    end
  end

  test "an outcome that comes after the end of the instance is nobody's" do
    table = :ets.new(:gone, [:set, :public])
    scope = {:lm, :default, "default"}
    assert :ok = Breaker.failure(table, scope, "it broke")
    :ets.delete(table)
    assert :ok = Breaker.lm_outcome(table, scope, {:ok, %{}})
    assert :ok = Breaker.lm_outcome(table, scope, {:error, Error.new(:worker_lost, "gone")})
    assert :ok = Breaker.lm_outcome(table, scope, {:error, %{Error.new(:lm_error, "gone") | retryable?: true}})
    assert :ok = DSPex.Router.Latency.observe(table, :python, "predict", 1000)
  end

  test "of many callers at once exactly one becomes the probe" do
    table = :ets.new(:breaker, [:public])
    scope = {:lm, nil, "default"}
    for _failure <- 1..10, do: Breaker.failure(table, scope, "it is down")
    # The same rows, with a breaker whose time is over.
    [{key, breaker, cause}] = :ets.lookup(table, {:breaker, scope})
    :ets.insert(table, {key, %{breaker | opened_at: breaker.opened_at - 1_000_000}, cause})

    answers = 1..200 |> Enum.map(fn _n -> Task.async(fn -> Breaker.check(table, scope) end) end) |> Task.await_many()
    assert Enum.count(answers, &(&1 == :ok)) == 1
    assert {:error, %Error{reason: :unavailable, message: message, retry_after: after_s}} = List.last(answers -- [:ok])
    assert message =~ "it is down"
    assert after_s > 0
  end

  test "failures that are counted at once from many processes are all counted" do
    table = :ets.new(:breaker, [:public])
    :ets.insert(table, {{:pool, :default}, %{options: [breaker: [failures: 1_000]]}})
    scope = {:pool, :default}
    fail = fn _n -> Task.async(fn -> for _m <- 1..50, do: Breaker.failure(table, scope, "x") end) end
    1..10 |> Enum.map(fail) |> Task.await_many()
    assert [{_key, %{count: 500}, "x"}] = :ets.lookup(table, {:breaker, scope})
  end

  test "a pool whose workers keep dying refuses calls before they reach a worker, and recovers by one probe" do
    test = self()
    sick = :atomics.new(1, [])
    :atomics.put(sick, 1, 1)

    script = %{
      "module.call" => fn link, id, params ->
        send(test, :reached)

        if :atomics.get(sick, 1) == 1,
          do: Memory.hang_up(link, "the process ended with signal 11"),
          else: Peer.default("module.call", link, id, params)
      end
    }

    for event <- [:open, :half_open, :close] do
      handler = fn [_dspex, _breaker, event], %{failures: count}, metadata, _config ->
        if metadata.instance == __MODULE__.Dying, do: send(test, {event, count, metadata.pool})
      end

      DSPex.Telemetry.attach({__MODULE__, event}, [:dspex, :breaker, event], handler, nil)
      on_exit(fn -> DSPex.Telemetry.detach({__MODULE__, event}) end)
    end

    instance = Peer.start_instance(__MODULE__.Dying, script, breaker: [failures: 3, open_ms: 300])
    for _death <- 1..3, do: assert({:error, %Error{reason: :worker_lost}} = call(instance))
    assert_received {:open, 3, :default}
    for _death <- 1..3, do: assert_received(:reached)

    assert {:error, %Error{reason: :unavailable, retry_after: after_s, details: %{"breaker" => "open"}} = error} =
             call(instance)

    assert error.message =~ "signal 11"
    assert after_s > 0 and after_s <= 0.3
    refute_received :reached
    :atomics.put(sick, 1, 0)
    Wait.eventually(fn -> match?({:ok, _prediction}, call(instance)) end)
    assert_received {:half_open, 3, :default}
    assert_received {:close, 0, :default}
    assert {:ok, _prediction} = call(instance)
  end

  test "an LM that keeps failing is asked no more, other LMs of the pool are; what the caller did wrong is not counted" do
    script = %{
      "module.call" => fn link, id, params ->
        case params["options"]["lm"] do
          "sick" -> Peer.error(link, id, Error.new(:lm_error, "503 from the provider", retryable?: true))
          "refuses" -> Peer.error(link, id, Error.new(:lm_error, "the key is wrong"))
          "bad" -> Peer.error(link, id, Error.new(:invalid_input, "no such field"))
          _well -> Peer.default("module.call", link, id, params)
        end
      end
    }

    instance = Peer.start_instance(__MODULE__.Lm, script, breaker: [failures: 2, open_ms: 60_000])
    for _error <- 1..2, do: assert({:error, %Error{reason: :lm_error}} = call(instance, lm: "sick"))
    assert {:error, %Error{reason: :unavailable, message: message}} = call(instance, lm: "sick")
    assert message =~ "the LM sick of pool default failed 2 times in a row"
    assert message =~ "503 from the provider"
    for _ok <- 1..3, do: assert({:ok, _prediction} = call(instance))
    for _error <- 1..4, do: assert({:error, %Error{reason: :lm_error}} = call(instance, lm: "refuses"))
    for _error <- 1..4, do: assert({:error, %Error{reason: :invalid_input}} = call(instance, lm: "bad"))

    assert_raise Error, ~r/the LM sick/, fn ->
      Enum.to_list(DSPex.stream(@program, @inputs, instance: instance, lm: "sick"))
    end
  end

  test "a breaker that is switched off never opens" do
    script = %{
      "module.call" => fn link, id, _params -> Peer.error(link, id, Error.new(:lm_error, "503", retryable?: true)) end
    }

    instance = Peer.start_instance(__MODULE__.Off, script, breaker: false)
    for _error <- 1..30, do: assert({:error, %Error{reason: :lm_error}} = call(instance))
  end

  @tag req: ["NFR2.1.1", "NFR2.2.3"]
  test "a caller whose deadline is shorter than the wait of the queue is refused at once" do
    test = self()
    held = %{"module.call" => fn link, id, _params -> send(test, {:called, link, id}) end}
    instance = Peer.start_instance(__MODULE__.Shed, held, max_in_flight: 1, queue_timeout: 60_000)
    # The worker's handle of the program is known before: what waits is calls alone.
    warm = Task.async(fn -> call(instance) end)
    assert_receive {:called, link, id}
    Peer.result(link, id, Peer.prediction(%{"answer" => "x"}))
    assert {:ok, _prediction} = Task.await(warm)
    calls = for _n <- 1..7, do: Task.async(fn -> call(instance) end)

    # Two places, 60 ms apart: the pace of this queue.
    for _place <- 1..3 do
      assert_receive {:called, link, id}
      Wait.eventually(fn -> queued(instance) >= 4 end)
      receive(do: (:never -> :ok), after: (60 -> :ok))
      Peer.result(link, id, Peer.prediction(%{"answer" => "x"}))
    end

    assert {:error, %Error{reason: :overloaded, details: %{"shed" => true}} = error} = call(instance, timeout: 100)
    assert error.retry_after > 0
    assert error.message =~ ~r/\d callers wait, for a place in \d+ ms; this call has \d+ ms/
    patient = Task.async(fn -> call(instance, timeout: 50_000) end)

    for _rest <- 1..5 do
      assert_receive {:called, link, id}
      Peer.result(link, id, Peer.prediction(%{"answer" => "x"}))
    end

    for outcome <- Task.await_many([patient | calls]), do: assert({:ok, _prediction} = outcome)
  end

  defp queued(instance) do
    {:ok, %{default: pool}} = DSPex.info(instance)
    pool.queued
  end
end
