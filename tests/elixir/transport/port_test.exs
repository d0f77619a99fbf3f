defmodule DSPex.Transport.PortTest do
  use ExUnit.Case, async: true

  alias DSPex.Error
  alias DSPex.Test.Os
  alias DSPex.Test.Wait

  @script Path.expand("../support/scripted_worker.py", __DIR__)
  @program DSPex.Predict.new("question -> answer")

  defp start(name, fault, options \\ []) do
    name = Module.concat(__MODULE__, name)
    command = ["python3", @script, fault]
    pool = Keyword.merge([workers: 1, command: command, backoff: [first: 1, most: 50], ping_interval: 200], options)
    start_supervised!({DSPex, name: name, pools: [default: pool]})
    name
  end

  defp ask(instance, question, options \\ []),
    do: DSPex.call(@program, %{question: question}, [{:instance, instance} | options])

  defp works(instance), do: assert({:ok, _prediction} = ask(instance, "pid", timeout: 30_000))

  @tag req: ["FR1.3.1", "OWN-8"]
  test "a worker is a child process over its stdin and stdout, with its environment and folder" do
    instance = start(:Plain, "none", env: [{"SCRIPTED", "yes"}], lm: "some/model", cd: System.tmp_dir!())
    assert {:ok, prediction} = ask(instance, "environment")
    assert prediction["answer"] == "yes some/model #{System.tmp_dir!()}"
    {:ok, %{default: %{workers: [%{os_pid: os_pid}]}}} = DSPex.info(instance)
    assert {:ok, prediction} = ask(instance, "pid")
    assert prediction["answer"] == Integer.to_string(os_pid)
  end

  @tag req: ["NFR2.1.1", "NFR2.1.2"]
  test "kill -9, an exit, and garbage in mid-call are worker_lost, and the next call works" do
    instance = start(:Dies, "none")

    for {question, text} <- [{"die", "signal 9"}, {"exit", "exit status 4"}, {"garbage", "Segm"}] do
      assert {:error, %Error{reason: :worker_lost, message: message}} = ask(instance, question)
      assert message =~ text
      works(instance)
    end
  end

  @tag req: ["NFR2.1.2", "FR2.1.4"]
  test "a stopped worker with 10 MB queued is found by its pings and replaced, and its owner never blocks" do
    instance = start(:Stopped, "none", ping_interval: 100, ping_misses: 5)
    works(instance)
    stopped = Task.async(fn -> ask(instance, "stop") end)
    big = String.duplicate("x", 1_000_000)
    queued = for _n <- 1..10, do: Task.async(fn -> DSPex.request("echo", [{"value", big}], instance: instance) end)
    assert {:error, %Error{reason: :worker_lost, message: message}} = Task.await(stopped, 30_000)
    assert message =~ "pings in a row"

    for task <- queued do
      case Task.await(task, 30_000) do
        {:ok, %{"value" => ^big}} -> :ok
        {:error, error} -> assert error.reason in [:worker_lost, :unavailable]
      end
    end

    works(instance)
  end

  test "a worker that does not read refuses further requests as overloaded" do
    instance = start(:Backlog, "none", ping_interval: 60_000, max_backlog: 1_000_000)
    works(instance)
    {:ok, %{default: %{workers: [%{os_pid: os_pid}]}}} = DSPex.info(instance)
    stopped = Task.async(fn -> ask(instance, "stop", timeout: 120_000) end)
    Wait.eventually(fn -> Os.state(os_pid) == "T" end)
    big = String.duplicate("x", 3_000_000)
    sender = fn -> DSPex.request("echo", [{"value", big}], instance: instance, timeout: 120_000) end
    outcomes = for _n <- 1..6, do: Task.async(sender)
    assert receive_outcome(outcomes) == :overloaded
    {_output, 0} = Os.signal("KILL", os_pid)
    assert {:error, %Error{reason: :worker_lost}} = Task.await(stopped, 130_000)
    works(instance)
  end

  defp receive_outcome(tasks) do
    refs = Enum.map(tasks, & &1.ref)

    receive do
      {ref, {:error, error}} when is_reference(ref) -> if ref in refs, do: error.reason, else: receive_outcome(tasks)
      {ref, {:ok, _value}} when is_reference(ref) -> receive_outcome(tasks)
    after
      60_000 -> :none
    end
  end

  @tag req: ["NFR2.1.1", "NFR2.2.2", "FR2.1.2"]
  test "a pool whose Python cannot start says why and takes nothing else down" do
    empty = Path.join(System.tmp_dir!(), "dspex-no-package-#{System.unique_integer([:positive])}")
    File.mkdir_p!(empty)
    bare = System.find_executable("python3")

    for {name, options, text} <- [
          {:NoFile, [python: "/nowhere/python", command: nil], "/nowhere/python, which is no program and no venv"},
          {:NoCommand, [command: ["no-such-program-anywhere"]], "no-such-program-anywhere"},
          {:NotOne, [command: [@script]], "may not be executed"},
          {:Handshake, [command: ["python3", @script, "dies in handshake"]], "exit status 3"},
          {:Version, [command: ["python3", @script, "another version"]], "protocol 2, this client speaks [1]"},
          {:Garbage, [command: ["python3", @script, "garbage at start"]], "begins with \"Welc\""},
          {:Unready, [command: ["python3", @script, "never ready"], ready_timeout: 100], "ready in time"},
          {:NoPackage, [python: bare, command: nil, cd: empty, env: [{"PYTHONPATH", empty}]], "No module named"}
        ] do
      options = Enum.reject(Keyword.merge([backoff: [first: 1_000, most: 1_000]], options), &match?({_name, nil}, &1))
      name = Module.concat(__MODULE__, name)
      start_supervised!({DSPex, name: name, pools: [default: [workers: 1] ++ options]})
      assert {:error, %Error{reason: :unavailable, message: message} = error} = DSPex.await_ready(name)
      assert message =~ text
      assert error.hint =~ "pool's status"
      assert {:error, %Error{reason: :unavailable}} = ask(name, "pid")
      assert {:ok, %{default: %{cause: %Error{}, workers: [%{state: :down}]}}} = DSPex.info(name)
      assert {:error, %Error{message: "pool default: " <> _text}} = DSPex.health_check(name)
      stop_supervised!(name)
    end
  end

  test "stopping an instance leaves no process, even one that ignores shutdown" do
    for fault <- ["none", "ignores shutdown"] do
      instance = start(:Stop, fault, drain_ms: 200)
      {:ok, prediction} = ask(instance, "pid")
      os_pid = prediction["answer"]
      stop_supervised!(instance)
      Wait.eventually(fn -> Os.gone?(os_pid) end)
    end
  end
end
