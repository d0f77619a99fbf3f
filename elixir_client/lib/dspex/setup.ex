defmodule DSPex.Setup do
  @moduledoc """
  Makes the Python environment that this version of DSPex needs: a venv with the pinned packages, from the folder of the
  library itself. `mix dspex.setup` is its command.
  """

  alias DSPex.Error

  # The library's own folder: a checkout, or the dependency's in an application.
  @root Path.expand("../../..", __DIR__)
  @needed ~w(python_bridge pyproject.toml requirements.lock requirements-uv.lock)

  @type option ::
          {:venv, Path.t()}
          | {:python, String.t()}
          | {:wheelhouse, Path.t()}
          | {:pip, boolean}
          | {:extras, [String.t()]}

  @doc "The folder with `python_bridge`, `proto` and the locks."
  @spec root() :: Path.t()
  def root, do: @root

  @doc """
  The commands that set an environment up, in order, each with what it is for. Pure.

  Options: `:venv` (`.venv`), `:python` (`"python3"`), `:wheelhouse` (a folder of wheels, nothing is fetched then), `:pip`
  (`true`: without uv), `:extras` (`["grpc", "mlflow"]`; resolved by the index or wheelhouse, beside the pinned set).

      iex> [{_text, venv} | _rest] = DSPex.Setup.commands(venv: "/app/.venv", python: "python3.11")
      iex> venv
      ["python3.11", "-m", "venv", "/app/.venv"]
  """
  @spec commands([option]) :: [{String.t(), [String.t()]}]
  def commands(options \\ []) do
    venv = Keyword.get(options, :venv, ".venv")
    python = Path.join([venv, "bin", "python"])
    source = source(options)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]

    install =
      if options[:pip], do: pip, else: [Path.join([venv, "bin", "uv"]), "pip", "install", "--quiet", "--python", python]

    lock = Path.join(@root, "requirements.lock")

    uv =
      {"installing the pinned uv",
       pip ++ source ++ ["--require-hashes", "-r", Path.join(@root, "requirements-uv.lock")]}

    [{"making #{venv}", [Keyword.get(options, :python, "python3"), "-m", "venv", venv]}] ++
      if(options[:pip], do: [], else: [uv]) ++
      [{"installing the packages of requirements.lock", install ++ source ++ ["--require-hashes", "-r", lock]}] ++
      extras(install ++ source, options[:extras] || []) ++
      [{"installing python_bridge", install ++ ["--no-deps", "--no-build-isolation" | offline(options)] ++ [@root]}]
  end

  @doc "Runs the commands; `tell` gets a line for each. The error has the command's last lines."
  @spec run([option], (String.t() -> term)) :: :ok | {:error, Error.t()}
  def run(options \\ [], tell \\ fn _text -> :ok end) do
    with :ok <- complete() do
      Enum.reduce_while(commands(options), :ok, fn {text, command}, :ok ->
        tell.(text)

        case execute(command) do
          {_output, 0} -> {:cont, :ok}
          {output, status} -> {:halt, {:error, failed(text, command, output, status)}}
        end
      end)
    end
  end

  defp complete do
    case Enum.reject(@needed, &File.exists?(Path.join(@root, &1))) do
      [] ->
        :ok

      missing ->
        {:error, Error.new(:unavailable, "#{@root} lacks #{Enum.join(missing, ", ")}; fetch the dependency again")}
    end
  end

  defp execute([program | arguments]) do
    # What lies in the venv is named from the current folder, where nobody else looks.
    case if(File.regular?(program), do: Path.expand(program), else: System.find_executable(program)) do
      nil -> {"#{program} is not installed", 127}
      path -> System.cmd(path, arguments, stderr_to_stdout: true)
    end
  end

  defp failed(text, command, output, status) do
    last = output |> String.split("\n", trim: true) |> Enum.take(-5) |> Enum.join("\n")

    Error.new(
      :unavailable,
      "#{text} failed with status #{status}:\n#{last}\nThe command was: #{Enum.join(command, " ")}"
    )
  end

  defp source(options) do
    case options[:wheelhouse] do
      nil -> []
      folder -> ["--no-index", "--find-links", Path.expand(folder)]
    end
  end

  defp offline(options), do: if(options[:wheelhouse], do: ["--no-index"], else: [])

  defp extras(_install, []), do: []

  defp extras(install, names),
    do: [{"installing the extras #{Enum.join(names, ", ")}", install ++ ["#{@root}[#{Enum.join(names, ",")}]"]}]
end
