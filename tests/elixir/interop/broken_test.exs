defmodule DSPex.Interop.BrokenTest do
  # Real workers in surroundings that lack something: each says what, and takes nothing else down.
  use ExUnit.Case, async: true

  alias DSPex.Error
  alias DSPex.Session
  alias DSPex.Test.Wait

  @moduletag timeout: 180_000
  @program DSPex.Predict.new("context, question -> answer")
  @inputs %{context: "Paris is the capital of France.", question: "What is the capital of France?"}

  # A folder on PYTHONPATH with one module in it.
  defp folder(file, text) do
    folder = Path.join(System.tmp_dir!(), "dspex-broken-#{System.unique_integer([:positive])}")
    File.mkdir_p!(folder)
    File.write!(Path.join(folder, file), text)
    on_exit(fn -> File.rm_rf!(folder) end)
    folder
  end

  defp start(name, options) do
    name = Module.concat(__MODULE__, name)
    pool = Keyword.merge([workers: 1, lm: "offline/extractive", backoff: [first: 1_000, most: 1_000]], options)
    start_supervised!({DSPex, name: name, pools: [default: pool]})
    name
  end

  @tag req: ["NFR2.1.1", "NFR2.2.2", "FR2.1.2"]
  test "a Python that is too old is told with its version" do
    old = folder("sitecustomize.py", "import sys\nsys.version_info = (3, 8, 18, 'final', 0)\n")
    bare = System.find_executable("python3")
    instance = start(:TooOld, python: bare, cd: old, env: [{"PYTHONPATH", old}], start: :fresh)
    assert {:error, %Error{reason: :unavailable, message: message}} = DSPex.await_ready(instance)
    assert message =~ "Python 3.8 is too old"
    assert {:error, %Error{reason: :unavailable}} = DSPex.call(@program, @inputs, instance: instance)
  end

  @tag req: ["NFR2.1.1", "NFR2.2.2", "FR2.1.2"]
  test "a package that the worker needs before it can speak is told by name" do
    without = folder("orjson.py", "raise ModuleNotFoundError(\"No module named 'orjson'\", name='orjson')\n")
    instance = start(:NoOrjson, env: [{"PYTHONPATH", without <> ":" <> File.cwd!()}])
    assert {:error, %Error{reason: :unavailable, message: message}} = DSPex.await_ready(instance)
    assert message =~ "No module named 'orjson'"
    assert message =~ "pip install"
  end

  for start <- [:fresh, :fork_server] do
    @tag req: ["NFR2.1.1", "NFR2.2.2", "NFR5.1.4"]
    test "a Python without dspy is told with the line that installs it (#{start})" do
      without = folder("dspy.py", "raise ModuleNotFoundError(\"No module named 'dspy'\", name='dspy')\n")

      instance =
        start(unquote(:"NoDspy#{start}"), env: [{"PYTHONPATH", without <> ":" <> File.cwd!()}], start: unquote(start))

      assert {:error, %Error{reason: :unavailable, message: message}} = DSPex.await_ready(instance, 120_000)
      assert message =~ "dspy"
      assert message =~ "pip install"
      assert {:error, %Error{reason: :unavailable}} = DSPex.call(@program, @inputs, instance: instance)
    end
  end

  for start <- [:fresh, :fork_server] do
    @tag req: ["FR2.1.2", "NFR2.2.2"]
    test "extras that a pool's Python lacks are told with the line that installs them (#{start})" do
      without = folder("sitecustomize.py", "import sys\nsys.modules['pyarrow'] = None\n")
      env = [{"PYTHONPATH", without <> ":" <> File.cwd!()}]
      options = [env: env, start: unquote(start)]
      instance = start(unquote(:"NoArrow#{start}"), [extras: ["arrow", "grpc"]] ++ options)
      assert {:error, %Error{reason: :unavailable, message: message}} = DSPex.await_ready(instance, 120_000)
      assert message =~ "lacks the extras arrow (no module pyarrow)"
      assert message =~ "mix dspex.setup --extras arrow"
      instance = start(unquote(:"OtherExtras#{start}"), [extras: ["grpc"]] ++ options)
      assert :ok = DSPex.await_ready(instance, 120_000)
    end
  end

  @tag req: ["NFR2.1.1", "FR2.3.1"]
  test "a store that cannot be written fails sessions, and no other call" do
    file = Path.join(folder("file", ""), "file")
    instance = start(:NoStore, settings: %{store: "sqlite:///#{file}/sessions.db"})
    :ok = Wait.ready(instance)
    assert {:error, %Error{message: message}} = Session.open(instance: instance)
    assert message =~ file
    assert {:ok, %{outputs: %{"answer" => "Paris" <> _rest}}} = DSPex.call(@program, @inputs, instance: instance)
    assert {:error, %Error{}} = Session.open(instance: instance)
    assert :ok = DSPex.health_check(instance)
  end
end
