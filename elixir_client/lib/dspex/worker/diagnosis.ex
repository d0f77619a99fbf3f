defmodule DSPex.Worker.Diagnosis do
  @moduledoc false
  # Finds out why a worker ended before it said anything: its stderr went to the terminal, so the import is tried again.

  alias DSPex.Error
  alias DSPex.Worker.Launch

  # What a worker needs before it can say anything itself. Written so that Python 2 can read it.
  @imports """
  import sys
  if sys.version_info < (3, 11):
      sys.exit('Python %d.%d is too old; 3.11 or newer is needed' % sys.version_info[:2])
  import python_bridge.cli.worker_flags, python_bridge.worker.main
  """

  @doc "The cause as an error of the closed set. Runs Python; not for the owner's process."
  @spec cause(keyword, String.t()) :: Error.t()
  def cause(config, reason), do: config |> find(reason) |> elem(1)

  @doc "The same with where it lies: `:sound` when Python itself and its packages are as they should be, else `:unsound`."
  @spec find(keyword, String.t()) :: {:sound | :unsound, Error.t()}
  def find(config, reason) do
    if config[:command] || config[:lent], do: {:unsound, unavailable(reason)}, else: ask(config, reason)
  end

  defp ask(config, reason) do
    with {:ok, launch} <- Launch.options(config) do
      options = [stderr_to_stdout: true, env: launch[:env]] ++ Keyword.take(launch, [:cd])

      case System.cmd(launch[:executable], ["-c", @imports], options) do
        {_output, 0} ->
          {:sound, unavailable(reason)}

        {output, _status} ->
          {:unsound, unavailable("#{reason}: #{last_line(output)}#{advice(output, launch[:executable])}")}
      end
    else
      {:error, error} -> {:unsound, error}
    end
  rescue
    error in [ErlangError, ArgumentError] -> {:unsound, unavailable("#{reason}: #{Exception.message(error)}")}
  end

  defp last_line(output), do: output |> String.split("\n", trim: true) |> List.last("no output") |> String.slice(0, 500)

  defp advice(output, python) do
    if output =~ "ModuleNotFoundError",
      do: "; run `#{python} -m pip install .` in the folder of python_bridge, or point the option python at its venv",
      else: ""
  end

  defp unavailable(text), do: Error.new(:unavailable, "the Python worker cannot start: " <> text)
end
