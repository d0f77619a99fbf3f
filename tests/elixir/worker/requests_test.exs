defmodule DSPex.Worker.RequestsTest do
  # The owner of a worker takes the requests that wait in one round, and nothing else may suffer from it.
  use ExUnit.Case, async: true

  alias DSPex.Error
  alias DSPex.Test.Peer
  alias DSPex.Test.Wait
  alias DSPex.Transport.Memory
  alias DSPex.Worker

  # While it is suspended, what others send it waits in its mailbox in the order of the test.
  defp suspended(instance, function) do
    {owner, _link} = owner(instance)
    :erlang.suspend_process(owner)
    result = function.(owner)
    :erlang.resume_process(owner)
    result
  end

  defp owner(instance) do
    {:ok, table} = DSPex.Instance.table(instance)
    [{1, owner, _row}] = DSPex.Pool.workers(table, :default)
    {owner, table}
  end

  defp echo(instance, value, options \\ []),
    do: DSPex.request("echo", [{"value", value}], [instance: instance] ++ options)

  # Starts so many callers and waits until all of their requests are in the owner's mailbox.
  defp callers(instance, owner, values, options \\ []) do
    {:message_queue_len, before} = Process.info(owner, :message_queue_len)

    for {value, place} <- Enum.with_index(values, 1) do
      task = Task.async(fn -> echo(instance, value, options) end)
      Wait.eventually(fn -> Process.info(owner, :message_queue_len) >= {:message_queue_len, before + place} end, 1)
      task
    end
  end

  # Hands the worker's end of the connection to the test.
  defp start(name, script, options \\ []) do
    test = self()

    ready = fn link, id, params ->
      send(test, {:link, link})
      Peer.default("initialize", link, id, params)
    end

    instance = Peer.start_instance(name, Map.put_new(script, "initialize", ready), options)
    assert :ok = DSPex.await_ready(instance)
    assert_receive {:link, link}, 10_000
    {instance, link}
  end

  @tag req: "FR2.2.3"
  test "requests that wait together reach the worker in their order, and each gets its own answer" do
    test = self()

    script = %{
      "echo" => fn link, id, params ->
        send(test, {:echo, params["value"]})
        Peer.default("echo", link, id, params)
      end
    }

    {instance, _link} = start(__MODULE__.Order, script)
    values = Enum.to_list(1..150)
    tasks = suspended(instance, &callers(instance, &1, values))
    assert Task.await_many(tasks, 30_000) == for(value <- values, do: {:ok, %{"value" => value}})
    assert values == for(_ <- values, do: receive(do: ({:echo, value} -> value)))
  end

  @tag req: ["NFR2.1.1", "NFR2.1.2"]
  test "a request behind the end of its worker was never written, and goes to the next process" do
    seen = :counters.new(1, [])

    script = %{
      "echo" => fn link, id, params ->
        if params["value"] == "first", do: :counters.add(seen, 1, 1), else: Peer.default("echo", link, id, params)
      end
    }

    {instance, link} = start(__MODULE__.Behind, script)

    [first, second] =
      suspended(instance, fn owner ->
        first = callers(instance, owner, ["first"])
        Memory.hang_up(link, "the process ended with signal 9")
        first ++ callers(instance, owner, ["second"])
      end)

    assert {:error, %Error{reason: :worker_lost}} = Task.await(first, 30_000)
    assert {:ok, %{"value" => "second"}} = Task.await(second, 30_000)
  end

  @tag req: "NFR2.1.1"
  test "a caller that dies among requests that wait has its own cancelled, and no other" do
    test = self()

    script = %{
      "echo" => fn link, id, params ->
        if params["value"] == "held", do: send(test, {:held, id}), else: Peer.default("echo", link, id, params)
      end,
      "$/cancelRequest" => fn _link, nil, params -> send(test, {:cancelled, params["id"]}) end
    }

    {instance, _link} = start(__MODULE__.Dies, script)

    others =
      suspended(instance, fn owner ->
        {dying, monitor} = spawn_monitor(fn -> echo(instance, "held") end)
        Wait.eventually(fn -> Process.info(owner, :message_queue_len) >= {:message_queue_len, 1} end, 1)
        others = callers(instance, owner, [1, 2])
        Process.exit(dying, :kill)
        assert_receive {:DOWN, ^monitor, :process, ^dying, :killed}, 10_000
        others ++ callers(instance, owner, [3])
      end)

    assert [{:ok, %{"value" => 1}}, {:ok, %{"value" => 2}}, {:ok, %{"value" => 3}}] = Task.await_many(others, 30_000)
    assert_receive {:held, id}, 10_000
    assert_receive {:cancelled, ^id}, 10_000
    refute_received {:cancelled, _other}
    Wait.in_flight(instance, 0)
  end

  @tag req: "NFR2.1.2"
  test "a timer that ran out among requests that wait is still heard" do
    test = self()

    script = %{
      "ping" => fn link, id, params ->
        send(test, :pinged)
        Peer.default("ping", link, id, params)
      end
    }

    {instance, _link} = start(__MODULE__.Timer, script, ping_interval: 20, ping_misses: 1_000)

    tasks =
      suspended(instance, fn owner ->
        tasks = callers(instance, owner, [1])
        # The timer's own message.
        Wait.eventually(fn -> Process.info(owner, :message_queue_len) >= {:message_queue_len, 2} end, 1)
        tasks ++ callers(instance, owner, [2, 3])
      end)

    assert [{:ok, _}, {:ok, _}, {:ok, _}] = Task.await_many(tasks, 30_000)
    for _ <- 1..3, do: assert_receive(:pinged, 10_000)
  end

  @tag req: "NFR2.1.1"
  test "an owner that is told to retire among requests that wait answers the ones before, and refuses the ones behind" do
    {instance, _link} = start(__MODULE__.Retire, %{})

    tasks =
      suspended(instance, fn owner ->
        before = callers(instance, owner, [1, 2])
        Worker.restart(owner)
        before ++ callers(instance, owner, [3])
      end)

    assert [{:ok, %{"value" => 1}}, {:ok, %{"value" => 2}}, {:ok, %{"value" => 3}}] = Task.await_many(tasks, 30_000)
  end

  @tag req: ["NFR2.1.1", "NFR2.1.2"]
  test "64 callers in a worker that ends get one answer each, and leave no place taken" do
    test = self()

    script = %{
      "echo" => fn link, id, params ->
        case params["value"] do
          "last" -> Memory.hang_up(link, "the process ended with signal 9")
          value when rem(value, 2) == 0 -> Peer.default("echo", link, id, params)
          value -> send(test, {:unanswered, value})
        end
      end
    }

    {instance, _link} = start(__MODULE__.Many, script)
    tasks = suspended(instance, &callers(instance, &1, Enum.to_list(1..63) ++ ["last"]))
    outcomes = Task.await_many(tasks, 30_000)

    for {outcome, place} <- Enum.with_index(outcomes, 1) do
      if rem(place, 2) == 0 and place < 64,
        do: assert({:ok, %{"value" => ^place}} = outcome),
        else: assert({:error, %Error{reason: :worker_lost}} = outcome)
    end

    assert {:ok, %{"value" => 0}} = echo(instance, 0, timeout: 10_000)
    Wait.in_flight(instance, 0)
  end
end
