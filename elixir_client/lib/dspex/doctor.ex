defmodule DSPex.Doctor do
  @moduledoc """
  Looks whether everything that DSPex needs is there, and says for each thing that is not what to do. `mix dspex.doctor` is
  its command.
  """

  alias DSPex.Error
  alias DSPex.Worker.Launch

  @type check :: %{name: String.t(), status: :ok | :warning | :failed, found: String.t(), fix: String.t() | nil}

  @python_facts """
  import importlib.metadata as m, importlib.util as u, sys
  def version(name):
      try: return m.version(name)
      except m.PackageNotFoundError: return ''
  print('\\t'.join(['%d.%d.%d' % sys.version_info[:3], str(bool(u.find_spec('python_bridge'))), version('dspy'), version('uvloop'), version('orjson'), version('msgpack')]))
  """

  @doc """
  Runs the checks. Options: those of a pool that find Python (`:python`, `:env`, …) and start it (`:start`), and `:worker`, `false` to leave out the
  check that starts one.
  """
  @spec checks(keyword) :: [check]
  def checks(options \\ []) do
    {worker?, options} = Keyword.pop(options, :worker, true)

    elixir = [
      elixir(),
      otp(),
      json(),
      optional("telemetry", :telemetry, "events go to DSPex.Telemetry.attach/4 instead")
    ]

    python = python(options)
    sound? = Enum.all?(python, &(&1.status != :failed))
    elixir ++ python ++ if(worker? and sound?, do: [worker(options)], else: [])
  end

  @doc "Whether nothing failed; warnings do not count."
  @spec healthy?([check]) :: boolean
  def healthy?(checks), do: Enum.all?(checks, &(&1.status != :failed))

  @doc """
  The checks as lines of text.

      iex> DSPex.Doctor.format([%{name: "Elixir", status: :failed, found: "1.13", fix: "install 1.14"}])
      "  FAILED   Elixir: 1.13\\n           → install 1.14"
  """
  @spec format([check]) :: String.t()
  def format(checks) do
    Enum.map_join(checks, "\n", fn check ->
      mark = %{ok: "ok      ", warning: "warning ", failed: "FAILED  "}[check.status]
      fix = if check.fix && check.status != :ok, do: "\n           → #{check.fix}", else: ""
      "  #{mark} #{check.name}: #{check.found}#{fix}"
    end)
  end

  defp elixir do
    verdict(Version.match?(System.version(), ">= 1.14.0"), "Elixir", System.version(), "install Elixir 1.14 or newer")
  end

  defp otp do
    release = System.otp_release()
    verdict(String.to_integer(release) >= 25, "Erlang/OTP", release, "install OTP 25 or newer")
  end

  defp json do
    library = DSPex.Wire.Json.library()
    name = library |> Module.split() |> List.last()
    slow? = library == DSPex.Wire.Json.Plain
    fix = "add {:jason, \"~> 1.4\"} to deps (or Debian's erlang-jiffy): DSPex's own reader is slower"
    %{name: "JSON library", status: if(slow?, do: :warning, else: :ok), found: name, fix: fix}
  end

  defp optional(name, module, without) do
    if Code.ensure_loaded?(module),
      do: %{name: name, status: :ok, found: "loaded", fix: nil},
      else: %{name: name, status: :ok, found: "not loaded; #{without}", fix: nil}
  end

  defp python(options) do
    case Launch.options(options) do
      {:ok, launch} -> launch |> facts() |> python_checks(launch[:executable])
      {:error, error} -> [failed("Python", error.message, "run `mix dspex.setup`")]
    end
  end

  defp facts(launch) do
    cmd = [stderr_to_stdout: true, env: launch[:env]] ++ Keyword.take(launch, [:cd])

    case System.cmd(launch[:executable], ["-c", @python_facts], cmd) do
      {output, 0} -> {:ok, output |> String.trim_trailing("\n") |> String.split("\t")}
      {output, _status} -> {:error, output |> String.split("\n", trim: true) |> List.last("no output")}
    end
  end

  defp python_checks({:error, text}, path), do: [failed("Python", "#{path}: #{text}", "run `mix dspex.setup`")]

  defp python_checks({:ok, [version, bridge, dspy, uvloop, orjson, msgpack]}, path) do
    setup = "run `mix dspex.setup`, or point the pool's option python at the venv that has it"

    [
      verdict(Version.match?(version, ">= 3.11.0"), "Python", "#{version} (#{path})", "install Python 3.11 or newer"),
      verdict(bridge == "True", "python_bridge", if(bridge == "True", do: "found", else: "not found"), setup),
      verdict(
        dspy != "" and not String.starts_with?(dspy, "2."),
        "dspy",
        if(dspy == "", do: "not installed", else: dspy),
        setup
      ),
      package("uvloop", uvloop, :warning, setup),
      package("orjson", orjson, :failed, setup),
      package("msgpack", msgpack, :failed, setup)
    ]
  end

  defp package(name, "", status, fix), do: %{name: name, status: status, found: "not installed", fix: fix}
  defp package(name, version, _status, _fix), do: %{name: name, status: :ok, found: version, fix: nil}

  # The whole way once: process, handshake, dspy, a call that needs no network.
  defp worker(options) do
    name = Module.concat(__MODULE__, "Instance#{System.unique_integer([:positive])}")

    pool =
      options
      |> Keyword.take([:python, :env, :cd, :args, :start])
      |> Keyword.merge(workers: 1, lm: "offline/extractive")

    started = System.monotonic_time(:millisecond)

    case DSPex.Instance.start_link(name: name, pools: [default: pool]) do
      {:ok, supervisor} ->
        outcome = call(name)
        ms = System.monotonic_time(:millisecond) - started
        {:ok, %{default: %{start: start}}} = DSPex.info(name)
        Supervisor.stop(supervisor)
        told(outcome, ms, start)

      {:error, reason} ->
        failed("a worker", inspect(reason, limit: 5), "see the log above")
    end
  end

  defp call(name) do
    inputs = %{context: "The tower is 38 metres high.", question: "How high is the tower?"}
    DSPex.Caller.call(DSPex.Predict.new("context, question -> answer"), inputs, instance: name, implementation: :python)
  end

  defp told({:ok, prediction}, ms, start) do
    answered? = prediction["answer"] =~ "38 metres"

    verdict(
      answered?,
      "a worker",
      "started and answered in #{ms} ms#{how(start)}",
      "the offline LM gave another answer; please report it"
    )
  end

  defp told({:error, %Error{} = error}, _ms, _start),
    do: failed("a worker", error.message, error.hint || "see the log above")

  defp how(:fork_server), do: ", forked by a fork server"
  defp how(:fresh), do: ", as a fresh process"

  defp verdict(true, name, found, _fix), do: %{name: name, status: :ok, found: found, fix: nil}
  defp verdict(false, name, found, fix), do: failed(name, found, fix)
  defp failed(name, found, fix), do: %{name: name, status: :failed, found: found, fix: fix}
end
