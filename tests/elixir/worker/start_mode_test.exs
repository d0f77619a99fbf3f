defmodule DSPex.Worker.StartModeTest do
  # How the processes of a pool start when nothing is said of it, and what happens where a fork server cannot start.
  use ExUnit.Case, async: true

  import ExUnit.CaptureLog

  alias DSPex.Error
  alias DSPex.Telemetry
  alias DSPex.Test.Os
  alias DSPex.Test.Wait
  alias DSPex.Worker.StartMode

  @moduletag timeout: 180_000
  @python [workers: 1, settings: [engine: "scripted"], backoff: [first: 1, most: 50]]

  defp start(name, options) do
    name = Module.concat(__MODULE__, name)
    test = self()
    :ok = Telemetry.attach(name, [:dspex, :pool, :fallback], &__MODULE__.fell_back/4, {test, name})
    on_exit(fn -> Telemetry.detach(name) end)
    start_supervised!({DSPex, name: name, pools: [default: options ++ @python]})
    name
  end

  def fell_back(_event, measurements, %{instance: name} = metadata, {test, name}),
    do: send(test, {:fell_back, measurements, metadata})

  def fell_back(_event, _measurements, _metadata, _config), do: :ok

  defp mode(name) do
    {:ok, %{default: %{start: mode}}} = DSPex.info(name)
    mode
  end

  defp folder(name) do
    path = Path.join(System.tmp_dir!(), "dspex-start-#{System.unique_integer([:positive])}-#{name}")
    File.mkdir_p!(path)
    on_exit(fn -> File.rm_rf!(path) end)
    path
  end

  # Python runs this file when it starts.
  defp customised(code) do
    path = folder("site")
    File.write!(Path.join(path, "sitecustomize.py"), code)
    [env: [{"PYTHONPATH", path <> ":" <> File.cwd!()}]]
  end

  @tag req: ["FR2.1.1", "OWN-1"]
  test "workers are forks when nothing is said of it" do
    name = start(:Default, [])
    assert :ok = DSPex.await_ready(name, 120_000)
    assert mode(name) == :fork_server
    {:ok, %{default: %{workers: [%{os_pid: worker}]}}} = DSPex.info(name)
    {:ok, command} = File.read("/proc/#{Os.parent(worker)}/cmdline")
    assert command =~ "fork-server"
    refute_received {:fell_back, _measurements, _metadata}
  end

  @tag req: ["FR2.1.1", "NFR2.1.1"]
  test "where no fork server can start, workers start as fresh processes, and that is told once" do
    thread =
      "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,), daemon=True, name='stray').start()"

    ends = "import os, sys\nif 'fork-server' in sys.orig_argv:\n    os._exit(3)"

    for {name, options, why} <- [
          {:Threads, customised(thread), ", stray); start fresh workers"},
          {:Ends, customised(ends), "exit status 3"},
          {:Path, [env: [{"TMPDIR", folder(String.duplicate("x", 120))}]], "no socket can be made"}
        ] do
      log =
        capture_log(fn ->
          name = start(name, [workers: 2] ++ options)
          assert :ok = DSPex.await_ready(name, 120_000)
          assert {:ok, %{"value" => 1}} = DSPex.request("echo", [{"value", 1}], instance: name)
          assert mode(name) == :fresh
          assert_received {:fell_back, %{count: 1}, %{pool: :default, from: :fork_server, to: :fresh, reason: reason}}
          assert reason =~ why
          {:ok, %{default: %{workers: [%{os_pid: one}, %{os_pid: other}]}}} = DSPex.info(name)
          assert Enum.all?([one, other], &(File.read!("/proc/#{&1}/cmdline") =~ "worker"))

          # What was given up stays so: the next processes are fresh ones too.
          {_output, 0} = Os.signal("KILL", one)
          Wait.eventually(fn -> Os.gone?(one) and DSPex.await_ready(name, 120_000) == :ok end)
          refute_received {:fell_back, _measurements, _metadata}
        end)

      # Other tests write to this log too.
      told = for line <- String.split(log, "\n"), line =~ why, line =~ "its workers start as fresh processes", do: line
      assert length(told) == 1, log
    end
  end

  @tag req: ["NFR2.1.1", "NFR2.2.2"]
  test "what a fresh process would lack as well is told and no reason to start one" do
    broken = "import sys\nsys.modules['python_bridge'] = None"

    for {name, options, text} <- [
          {:NoPython, [python: "/nowhere/python"], "/nowhere/python"},
          {:NoBridge, customised(broken), "python_bridge"}
        ] do
      name = start(name, options)
      assert {:error, %Error{reason: :unavailable, message: message}} = DSPex.await_ready(name, 120_000)
      assert message =~ text
      assert mode(name) == :fork_server
      refute_received {:fell_back, _measurements, _metadata}
    end
  end

  @tag req: "FR2.1.1"
  test "the mode follows from the system, and from what the pool was given" do
    config = %{start: :auto, launch: [], pool: :default, instance: __MODULE__}
    assert StartMode.of(config, {:unix, :linux}) == :fork_server
    assert StartMode.of(%{config | launch: [command: ["x"]]}, {:unix, :linux}) == :fresh
    assert StartMode.of(%{config | start: :fresh}, {:unix, :linux}) == :fresh
    assert StartMode.of(%{config | start: :fork_server}, {:unix, :darwin}) == :fork_server
    assert StartMode.of(Map.put(config, :transport, {DSPex.Transport.Memory, []}), {:unix, :linux}) == :given
    log = capture_log(fn -> assert StartMode.of(config, {:unix, :darwin}) == :fresh end)
    assert log =~ "no fork server (there is one on Linux only, this is darwin)"
  end
end
