defmodule DSPex.Worker.Launch do
  @moduledoc """
  Finds the Python of a pool and says how its worker is started.
  """

  alias DSPex.Error

  # Where python_bridge lies beside this client: a checkout, or the package in a dependency's folder.
  @source Path.expand("../../../..", __DIR__)

  @doc """
  The program, its arguments and its environment, as options of `DSPex.Transport.Port`.

  Options: `:python` (an interpreter or a venv), `:command` (the whole command line instead), `:args`, `:env`, `:cd`, `:lm`,
  `:settings`, `:mode` (`"worker"` or `"fork-server"`).
  """
  @spec options(keyword) :: {:ok, keyword} | {:error, Error.t()}
  def options(config) do
    with {:ok, [executable | args]} <- command(config) do
      {:ok, [executable: executable, args: args, env: env(config)] ++ Keyword.take(config, [:cd])}
    end
  end

  @doc "What a pool's options say of a connection, for `DSPex.Protocol.Connection.new/1`."
  @spec connection(map) :: keyword
  def connection(config),
    do: [
      cap: config.max_frame_bytes,
      encoding: config.encoding,
      attach: Map.get(config, :attachment_bytes),
      expects: expects(config)
    ]

  @doc "The version that a worker's must fit; nil where any is allowed."
  @spec expects(map) :: String.t() | nil
  def expects(%{version_mismatch: :allow}), do: nil
  def expects(config), do: config.version

  @doc """
  The interpreter: option `:python`, `DSPEX_PYTHON`, `.venv/bin/python` below the current folder, `python3`, in this order.
  """
  @spec python(keyword) :: {:ok, String.t()} | {:error, Error.t()}
  def python(config) do
    local = Path.expand(".venv/bin/python")

    cond do
      chosen = config[:python] ->
        interpreter(chosen, "the pool's option python")

      chosen = System.get_env("DSPEX_PYTHON") ->
        interpreter(chosen, "DSPEX_PYTHON")

      File.exists?(local) ->
        {:ok, local}

      found = System.find_executable("python3") ->
        {:ok, found}

      true ->
        {:error, Error.new(:unavailable, "there is no python3 on the PATH and no .venv here; install Python 3.11")}
    end
  end

  defp command(config) do
    case config[:command] do
      nil ->
        with {:ok, python} <- python(config), do: {:ok, [python, "-m", "python_bridge", mode(config)] ++ args(config)}

      [program | args] ->
        with {:ok, found} <- interpreter(program, "the pool's option command"), do: {:ok, [found | args]}
    end
  end

  defp mode(config), do: Keyword.get(config, :mode, "worker")

  defp args(config), do: Keyword.get(config, :args, [])

  defp interpreter(path, source) do
    venv = Path.join([path, "bin", "python"])

    cond do
      File.dir?(path) and File.exists?(venv) -> {:ok, Path.expand(venv)}
      File.regular?(path) -> {:ok, Path.expand(path)}
      found = System.find_executable(path) -> {:ok, found}
      true -> {:error, Error.new(:unavailable, "#{source} is #{path}, which is no program and no venv")}
    end
  end

  # Settings go by the environment, where they show in no list of processes.
  defp env(config) do
    settings = config |> Keyword.get(:settings, %{}) |> Map.new(fn {name, value} -> {to_string(name), value} end)
    settings = if config[:lm], do: Map.put_new(settings, "lm", config[:lm]), else: settings
    settings = if config[:instance], do: Map.put_new(settings, "instance", config[:instance]), else: settings
    own = for {name, value} <- settings, do: {"DSPEX_" <> String.upcase(name), setting(value)}
    source_path() ++ own ++ Enum.to_list(Keyword.get(config, :env, []))
  end

  defp setting(value) when is_list(value), do: Enum.join(value, ",")
  defp setting(value), do: to_string(value)

  defp source_path do
    if File.dir?(Path.join(@source, "python_bridge")) do
      rest = System.get_env("PYTHONPATH")
      [{"PYTHONPATH", if(rest in [nil, ""], do: @source, else: @source <> ":" <> rest)}]
    else
      []
    end
  end
end
