defmodule DSPex.Transport.FaultsTest do
  # Real processes that misbehave. After each fault the pool is at full strength, and nothing has leaked.
  use ExUnit.Case, async: false

  alias DSPex.Error
  alias DSPex.Test.Leaks
  alias DSPex.Test.Os
  alias DSPex.Test.Wait

  @moduletag timeout: 180_000, req: "NFR2.1.2"
  @script Path.expand("../support/scripted_worker.py", __DIR__)
  @program DSPex.Predict.new("question -> answer")

  setup do
    pool = [
      workers: 2,
      command: ["python3", @script, "none"],
      backoff: [first: 1, most: 50],
      breaker: false,
      max_in_flight: 40,
      queue_limit: 20,
      ping_interval: 300
    ]

    start_supervised!({DSPex, name: __MODULE__, pools: [default: pool]})
    :ok = Wait.ready(__MODULE__)
    # The pool knows the program then: what is in flight are calls, and nothing before them.
    assert {:ok, _prediction} = ask("pid")
    :ok
  end

  defp ask(question, options \\ []), do: DSPex.call(@program, %{question: question}, [instance: __MODULE__] ++ options)

  defp stream(question) do
    Enum.to_list(DSPex.stream(@program, %{question: question}, instance: __MODULE__))
  rescue
    error in Error -> {:error, error}
  end

  defp many(count, function), do: for(_n <- 1..count, do: Task.async(function))
  defp await(tasks), do: Task.await_many(tasks, 60_000)

  defp os_pids,
    do: with({:ok, %{default: %{workers: workers}}} <- DSPex.info(__MODULE__), do: Enum.map(workers, & &1.os_pid))

  defp reasons(outcomes), do: outcomes |> Enum.map(fn {:error, %Error{reason: reason}} -> reason end) |> Enum.uniq()
  defp harmless(function), do: Leaks.none(__MODULE__, fn -> Leaks.whole(__MODULE__) end, function)

  # Callers that are killed while they wait: unlinked, so that the test survives them.
  defp killed(count, function) do
    callers = for _n <- 1..count, do: spawn(function)
    fn -> Enum.each(callers, &Process.exit(&1, :kill)) end
  end

  @tag req: ["NFR2.1.1", "OWN-1"]
  test "kill -9 of every worker under 64 calls and 16 streams" do
    harmless(fn ->
      tasks = many(64, fn -> ask("hold") end) ++ many(16, fn -> stream("hold the stream") end)
      Wait.in_flight(__MODULE__, 80)
      killed = os_pids()
      for os_pid <- killed, do: Os.signal("KILL", os_pid)
      assert reasons(await(tasks)) == [:worker_lost]
      Wait.eventually(fn -> Enum.all?(killed, &Os.gone?/1) end)
    end)
  end

  test "a stopped process, found by its pings and replaced" do
    harmless(fn ->
      [stopped, _other] = os_pids()
      {_output, 0} = Os.signal("STOP", stopped)
      Wait.eventually(fn -> stopped not in os_pids() and Os.gone?(stopped) end)
    end)
  end

  test "a worker that floods a stream, and one that stalls it" do
    harmless(fn ->
      flood = DSPex.stream(@program, %{question: "flood"}, instance: __MODULE__)
      # The reader waits until the worker has outrun it.
      slow = fn _event -> assert {:ok, _prediction} = ask("pid", timeout: 30_000) end
      assert %{reason: :protocol_error} = assert_raise(Error, fn -> Enum.each(flood, slow) end)
      stalled = DSPex.stream(@program, %{question: "hold the stream"}, instance: __MODULE__, timeout: 100)
      assert %{reason: :timeout} = assert_raise(Error, fn -> Stream.run(stalled) end)
    end)
  end

  test "a worker that answers twice, sends garbage, exits" do
    harmless(fn ->
      assert {:ok, %{outputs: %{"answer" => "once"}}} = ask("twice")
      for question <- ["garbage", "exit", "die"], do: assert({:error, %Error{reason: :worker_lost}} = ask(question))
    end)
  end

  @tag req: "OWN-1"
  test "callers that are killed in mid-call and in mid-stream" do
    harmless(fn ->
      kill_calls = killed(32, fn -> ask("hold", timeout: :infinity) end)
      kill_streams = killed(16, fn -> stream("hold the stream") end)
      Wait.in_flight(__MODULE__, 48)
      kill_calls.()
      kill_streams.()
      Wait.in_flight(__MODULE__, 0)
    end)
  end

  @tag req: ["FR2.1.4", "NFR2.2.1"]
  test "a queue that overflows" do
    harmless(fn ->
      kill = killed(100, fn -> ask("hold", timeout: :infinity) end)
      Wait.in_flight(__MODULE__, 80)
      Wait.queued(__MODULE__, 20)
      assert {:error, %Error{reason: :overloaded, message: message}} = ask("pid")
      assert message =~ "queue: limit"
      kill.()
    end)
  end

  @tag req: "NFR3.1.2"
  test "a pool that is resized under load loses no call" do
    harmless(fn ->
      callers = many(8, fn -> for _call <- 1..25, do: ask("pid", timeout: 60_000) end)

      for count <- [3, 1, 2] do
        :ok = DSPex.resize(__MODULE__, :default, count)
        :ok = Wait.ready(__MODULE__)
      end

      assert callers |> await() |> List.flatten() |> Enum.all?(&match?({:ok, _prediction}, &1))
    end)
  end
end
