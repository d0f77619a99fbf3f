defmodule DSPex.PoolTest do
  use ExUnit.Case, async: true

  alias DSPex.Error
  alias DSPex.Pool.Slots
  alias DSPex.Test.Peer
  alias DSPex.Test.Wait

  @program DSPex.Predict.new("question -> answer")
  @inputs %{question: "?"}

  describe "slots" do
    test "the least loaded worker that is ready gets the call" do
      slots = slots([:ready, :ready, :starting], 10)
      Slots.put_load(slots, 1, 3)
      Slots.put_load(slots, 2, 1)
      assert {:ok, 2} = Slots.checkout(slots)
      assert {:ok, 2} = Slots.checkout(slots)
      assert Slots.load(slots, 2) == 3
      Slots.release(slots, 1)
      assert {:ok, 1} = Slots.checkout(slots)
      assert Slots.states(slots) == [:ready, :ready, :starting]
    end

    test "equal loads are shared out" do
      slots = slots([:ready, :ready], 1_000)
      for _call <- 1..100, do: Slots.checkout(slots)
      assert [50, 50] = Enum.map(1..2, &Slots.load(slots, &1))
    end

    test "a full pool is busy, one without a ready worker is none" do
      slots = slots([:ready], 1)
      assert {:ok, 1} = Slots.checkout(slots)
      assert :busy = Slots.checkout(slots)
      assert Slots.load(slots, 1) == 1
      Slots.put_state(slots, 1, :down)
      assert :none = Slots.checkout(slots)
    end

    test "nobody overtakes those who wait, except the queue itself" do
      slots = slots([:ready], 1)
      Slots.put_waiting(slots, 1)
      assert :busy = Slots.checkout(slots)
      assert {:ok, 1} = Slots.checkout(slots, true)
    end

    test "the bound holds under many processes" do
      slots = slots([:ready, :ready, :ready], 7)

      taken =
        1..64
        |> Task.async_stream(fn _caller -> Slots.checkout(slots) end, max_concurrency: 16)
        |> Enum.count(&match?({:ok, {:ok, _}}, &1))

      assert taken <= 21
      assert Enum.sum(Enum.map(1..3, &Slots.load(slots, &1))) == taken
    end

    defp slots(states, bound) do
      slots = Slots.new(8)
      Slots.resize(slots, length(states))

      for {state, index} <- Enum.with_index(states, 1) do
        Slots.put_state(slots, index, state)
        Slots.put_bound(slots, index, bound)
      end

      slots
    end
  end

  # A worker whose calls end when the test says so.
  defp held(test), do: %{"module.call" => fn link, id, params -> send(test, {:called, link, id, params["inputs"]}) end}

  defp finish(link, id), do: Peer.result(link, id, Peer.prediction(%{"answer" => "x"}))

  @tag req: ["FR2.2.3", "OWN-2"]
  test "many calls are in flight on one worker, answered in any order" do
    instance = Peer.start_instance(__MODULE__.Many, held(self()))
    calls = for n <- 1..50, do: Task.async(fn -> DSPex.call(@program, %{n: n}, instance: instance) end)
    waiting = for _call <- calls, do: receive(do: ({:called, link, id, %{"n" => n}} -> {link, id, n}))
    for {link, id, n} <- Enum.reverse(waiting), do: Peer.result(link, id, Peer.prediction(%{"answer" => n}))
    answers = for call <- calls, {:ok, prediction} = Task.await(call), do: prediction["answer"]
    assert answers == Enum.to_list(1..50)
  end

  @tag req: ["FR2.1.4", "NFR2.2.3"]
  test "callers of a full pool wait in order and get the next free place" do
    instance = Peer.start_instance(__MODULE__.Full, held(self()), max_in_flight: 1)
    first = Task.async(fn -> DSPex.call(@program, %{n: 1}, instance: instance) end)
    assert_receive {:called, link, id, %{"n" => 1}}
    second = Task.async(fn -> DSPex.call(@program, %{n: 2}, instance: instance) end)
    Wait.queued(instance, 1)
    third = Task.async(fn -> DSPex.call(@program, %{n: 3}, instance: instance) end)
    Wait.queued(instance, 2)
    finish(link, id)
    assert {:ok, _prediction} = Task.await(first)
    assert_receive {:called, link, id, %{"n" => 2}}
    finish(link, id)
    assert {:ok, _prediction} = Task.await(second)
    assert_receive {:called, link, id, %{"n" => 3}}
    finish(link, id)
    assert {:ok, _prediction} = Task.await(third)
    Wait.queued(instance, 0)
  end

  @tag req: ["NFR2.2.1", "FR2.1.4"]
  test "a full queue is overloaded, with the option to change" do
    instance = Peer.start_instance(__MODULE__.Overload, held(self()), max_in_flight: 1, queue_limit: 1)
    busy = Task.async(fn -> DSPex.call(@program, @inputs, instance: instance) end)
    assert_receive {:called, link, id, _inputs}
    waiting = Task.async(fn -> DSPex.call(@program, @inputs, instance: instance) end)
    Wait.queued(instance, 1)

    assert {:error, %Error{reason: :overloaded, retryable?: true, message: message}} =
             DSPex.call(@program, @inputs, instance: instance)

    assert message =~ "queue: limit"
    finish(link, id)
    assert {:ok, _prediction} = Task.await(busy)
    assert_receive {:called, link, id, _inputs}
    finish(link, id)
    assert {:ok, _prediction} = Task.await(waiting)
  end

  @tag req: ["NFR2.2.1", "FR2.1.4"]
  test "a long wait in the queue is overloaded, with the option to change" do
    instance = Peer.start_instance(__MODULE__.LongWait, held(self()), max_in_flight: 1, queue_timeout: 50)
    busy = Task.async(fn -> DSPex.call(@program, @inputs, instance: instance) end)
    assert_receive {:called, link, id, _inputs}

    assert {:error, %Error{reason: :overloaded, retryable?: true, message: message}} =
             DSPex.call(@program, @inputs, instance: instance)

    assert message =~ "queue: timeout"
    finish(link, id)
    assert {:ok, _prediction} = Task.await(busy)
  end

  @tag req: "OWN-1"
  test "a caller that dies or gives up while it waits leaves the queue, and its place is not lost" do
    instance = Peer.start_instance(__MODULE__.Leave, held(self()), max_in_flight: 1)
    busy = Task.async(fn -> DSPex.call(@program, @inputs, instance: instance) end)
    assert_receive {:called, link, id, _inputs}
    caller = spawn(fn -> DSPex.call(@program, @inputs, instance: instance) end)
    Wait.queued(instance, 1)
    Process.exit(caller, :kill)
    Wait.queued(instance, 0)
    assert {:error, %Error{reason: :timeout}} = DSPex.call(@program, @inputs, instance: instance, timeout: 20)
    Wait.queued(instance, 0)
    finish(link, id)
    assert {:ok, _prediction} = Task.await(busy)
    last = Task.async(fn -> DSPex.call(@program, @inputs, instance: instance) end)
    assert_receive {:called, link, id, _inputs}
    finish(link, id)
    assert {:ok, _prediction} = Task.await(last)
  end

  @tag req: "OWN-1"
  test "the owner's death ends an async call that waits in the queue" do
    instance = Peer.start_instance(__MODULE__.OwnerLeaves, held(self()), max_in_flight: 1)
    busy = Task.async(fn -> DSPex.call(@program, @inputs, instance: instance) end)
    assert_receive {:called, link, id, _inputs}

    owner =
      spawn(fn ->
        DSPex.async(@program, @inputs, instance: instance)
        receive do: (:end -> :ok)
      end)

    Wait.queued(instance, 1)
    send(owner, :end)
    Wait.queued(instance, 0)
    finish(link, id)
    assert {:ok, _prediction} = Task.await(busy)
  end

  @tag req: ["FR2.1.1", "NFR1.2.4"]
  test "several pools of an instance do not know of each other" do
    test = self()
    slow = Peer.pool(held(test), max_in_flight: 1, queue_limit: 0)
    fast = Peer.pool(%{})
    start_supervised!({DSPex, name: __MODULE__.Pools, pools: [fast: fast, slow: slow]})
    assert :ok = DSPex.await_ready(__MODULE__.Pools)
    held = Task.async(fn -> DSPex.call(@program, @inputs, instance: __MODULE__.Pools, pool: :slow) end)
    assert_receive {:called, link, id, _inputs}

    assert {:error, %Error{reason: :overloaded}} =
             DSPex.call(@program, @inputs, instance: __MODULE__.Pools, pool: :slow)

    assert {:ok, prediction} = DSPex.call(@program, @inputs, instance: __MODULE__.Pools)
    assert prediction.meta["pool"] == "fast"
    finish(link, id)
    assert {:ok, _prediction} = Task.await(held)
  end

  @tag req: ["NFR2.1.1", "NFR2.1.4"]
  test "the queue and a worker's owner are started again when they crash" do
    instance = Peer.start_instance(__MODULE__.Crash, %{}, workers: 2)
    assert :ok = DSPex.await_ready(instance)
    {:ok, %{default: %{workers: [%{owner: owner} | _rest]}}} = DSPex.info(instance)
    Process.exit(owner, :kill)

    for _call <- 1..10,
        do: assert({:ok, _prediction} = DSPex.call(@program, @inputs, instance: instance, idempotency_key: "k"))

    Process.exit(Process.whereis(Module.concat(instance, "Queue.Default")), :kill)
    assert {:ok, _prediction} = Wait.eventually(fn -> DSPex.call(@program, @inputs, instance: instance) end)
  end

  @tag req: "NFR2.1.1"
  test "16 streams and 64 calls in flight when the worker dies: all are told, and the pool is whole again" do
    test = self()
    script = Map.merge(held(test), %{})
    instance = Peer.start_instance(__MODULE__.Massacre, script)
    calls = for _n <- 1..64, do: Task.async(fn -> DSPex.call(@program, @inputs, instance: instance) end)

    streams =
      for _n <- 1..16 do
        Task.async(fn ->
          try do
            Stream.run(DSPex.stream(@program, @inputs, instance: instance))
          rescue
            error in Error -> {:error, error}
          end
        end)
      end

    links = for _n <- 1..80, do: receive(do: ({:called, link, _id, _inputs} -> link))
    DSPex.Transport.Memory.hang_up(hd(links), "the process ended with signal 9")
    for task <- calls ++ streams, do: assert({:error, %Error{reason: :worker_lost}} = Task.await(task))
    again = Task.async(fn -> DSPex.call(@program, @inputs, instance: instance) end)
    assert_receive {:called, link, id, _inputs}, 2_000
    finish(link, id)
    assert {:ok, _prediction} = Task.await(again)
    {:ok, %{default: %{workers: [worker]}}} = DSPex.info(instance)
    assert worker.in_flight == 0
  end
end
