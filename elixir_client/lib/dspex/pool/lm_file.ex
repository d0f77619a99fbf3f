defmodule DSPex.Pool.LmFile do
  @moduledoc """
  The `lms:` and `embedders:` tables of a pool, as the TOML file that its workers read. It has mode 0600, holds names of variables and no
  keys, and goes with the pool.
  """
  use GenServer

  @doc "Writes the file; it lies there until the process ends. Config: `:instance`, `:pool`, `:lms`, `:embedders`."
  @spec start_link(map) :: GenServer.on_start()
  def start_link(config), do: GenServer.start_link(__MODULE__, config)

  @doc "Where the file of a pool lies: the name tells apart machines' processes, instances and pools."
  @spec path(atom, atom) :: String.t()
  def path(instance, pool) do
    name = "dspex-#{System.pid()}-#{:erlang.phash2({instance, pool}, 4_294_967_296)}-#{pool}.toml"
    Path.join(System.tmp_dir!(), String.replace(name, ~r/[^\w.-]/, "_"))
  end

  @doc """
  The tables as TOML.

      iex> DSPex.Pool.LmFile.toml("lms", small: [model: "openai/\\"x\\"", retries: 0])
      ~S(
      [lms."small"]
      model = "openai/\\"x\\""
      retries = 0
      )
  """
  @spec toml(String.t(), keyword(keyword) | nil) :: String.t()
  def toml(kind, tables) do
    for {name, table} <- tables || [], into: "" do
      rows = for {key, value} <- table, do: "#{key} = #{value(value)}\n"
      "\n[#{kind}.#{value(Atom.to_string(name))}]\n#{rows}"
    end
  end

  @impl GenServer
  def init(config) do
    Process.flag(:trap_exit, true)
    path = path(config.instance, config.pool)
    # What a process of the same id left behind, or somebody else has put there: never written through.
    File.rm(path)

    with {:ok, file} <- File.open(path, [:write, :exclusive]),
         :ok <- File.chmod(path, 0o600),
         :ok <- IO.binwrite(file, [toml("lms", config.lms), toml("embedders", config.embedders)]) do
      File.close(file)
      {:ok, path}
    else
      {:error, reason} -> {:stop, "cannot write #{path} for the pool's lms: #{:file.format_error(reason)}"}
    end
  end

  @impl GenServer
  def terminate(_reason, path), do: File.rm(path)

  defp value(value) when is_binary(value), do: ~s("#{Regex.replace(~r/[\\"\x00-\x1f\x7f]/, value, &escape/1)}")
  defp value(value), do: to_string(value)

  # A TOML basic string knows these two by themselves, and the others by number.
  defp escape(char) when char in ["\\", "\""], do: "\\" <> char
  defp escape(<<code>>), do: "\\u" <> String.pad_leading(Integer.to_string(code, 16), 4, "0")
end
