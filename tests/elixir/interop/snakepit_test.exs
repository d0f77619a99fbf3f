defmodule DSPex.Interop.SnakepitTest do
  # A pool over `python-bridge snakepit-worker`, which a stand-in for Snakepit starts, watches and replaces.
  use ExUnit.Case, async: false

  alias DSPex.Error
  alias DSPex.Event
  alias DSPex.Session
  alias DSPex.Test.Os
  alias DSPex.Test.Snakepit
  alias DSPex.Test.Wait

  @moduletag :capture_log
  @moduletag timeout: 180_000
  @moduletag req: "TC1"
  @inputs %{context: "Paris is the capital of France.", question: "What is the capital of France?"}
  @program DSPex.Predict.new("context, question -> answer")

  setup_all do
    Snakepit.compile()
    Application.put_env(:dspex, :snakepit, python: Path.expand(".venv/bin/python"))
    folder = Path.join(System.tmp_dir!(), "dspex-#{System.unique_integer([:positive])}")
    File.mkdir_p!(folder)

    on_exit(fn ->
      Application.delete_env(:dspex, :snakepit)
      File.rm_rf!(folder)
    end)

    {:ok, folder: folder}
  end

  setup %{folder: folder} do
    store = "sqlite:///#{folder}/store-#{System.unique_integer([:positive])}.db"
    Snakepit.start()
    lm = ["--lm", "offline/extractive", "--store", store]
    for id <- ["one", "two"], do: Snakepit.worker(id, Snakepit.real(folder, lm))
    pool = [start: :snakepit, backoff: [first: 1, most: 50]]
    start_supervised!({DSPex, name: __MODULE__, pools: [default: pool]})
    %{pids: ready()}
  end

  defp ready(gone \\ nil) do
    {:ok, pids} =
      Wait.eventually(fn ->
        {:ok, %{default: %{workers: workers}}} = DSPex.info(__MODULE__)
        pids = for %{state: :ready, os_pid: pid} <- workers, pid != gone, do: pid
        if length(pids) == 2, do: {:ok, pids}, else: workers
      end)

    pids
  end

  defp call(options \\ []), do: DSPex.call(@program, @inputs, [instance: __MODULE__] ++ options)

  @tag req: ["FR2.2.3", "FR2.2.4", "FR2.3.1"]
  test "calls, streams, tools and sessions go straight to the workers; a killed one is replaced", %{pids: [old | _]} do
    answers = 1..50 |> Task.async_stream(fn _n -> call() end, max_concurrency: 16, timeout: 60_000) |> Enum.to_list()
    assert Enum.all?(answers, &match?({:ok, {:ok, %{outputs: %{"answer" => "Paris" <> _}}}}, &1))

    events = Enum.to_list(DSPex.stream(@program, @inputs, instance: __MODULE__))
    assert %Event{type: :done, prediction: %{outputs: %{"answer" => "Paris" <> _}}} = List.last(events)

    # The metric runs here: the worker calls it as a tool.
    options = [metric: fn _example, _outputs -> 0.5 end, instance: __MODULE__]
    assert {:ok, %{"score" => 0.5}} = DSPex.evaluate(@program, [{@inputs, %{answer: "Paris"}}], options)

    assert {:ok, session} = Session.open(instance: __MODULE__)
    assert {:ok, _session} = Session.put(session, %{"city" => "Paris"})

    Os.signal("KILL", old)
    ready(old)
    assert {:ok, %{"city" => "Paris"}} = Session.get(session)
    assert {:ok, %{outputs: %{"answer" => "Paris" <> _}}} = call()
  end

  @tag req: ["FR2.2.4"]
  test "a call past its deadline ends in the worker, which takes the next one" do
    assert {:error, %Error{reason: :timeout}} = call(timeout: 0)
    assert {:ok, %{outputs: %{"answer" => "Paris" <> _}}} = call()
  end
end
