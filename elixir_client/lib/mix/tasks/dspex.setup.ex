defmodule Mix.Tasks.Dspex.Setup do
  @shortdoc "Makes the venv that DSPex's Python workers run in"

  @moduledoc """
  Makes a venv with the packages that this version of DSPex is pinned to, from the library's own folder.

      mix dspex.setup [--venv .venv] [--python python3.11] [--extras grpc,mlflow] [--wheelhouse FOLDER] [--pip]

    * `--wheelhouse` takes every package from a folder of wheels (`pip download -r requirements.lock -d FOLDER` fills one)
      and fetches nothing
    * `--pip` does without uv

  Pools find `.venv` by themselves; for another place set the pool's option `python`, or `DSPEX_PYTHON`. The exit status is
  1 when a step fails; its output says which.
  """
  use Mix.Task

  @switches [venv: :string, python: :string, extras: :string, wheelhouse: :string, pip: :boolean]

  @impl Mix.Task
  def run(arguments) do
    {options, rest, invalid} = OptionParser.parse(arguments, strict: @switches)

    if rest != [] or invalid != [],
      do: Mix.raise("mix dspex.setup takes --venv, --python, --extras, --wheelhouse and --pip")

    Mix.Task.run("compile")
    options = Keyword.update(options, :extras, [], &String.split(&1, ",", trim: true))

    case DSPex.Setup.run(options, &Mix.shell().info("· " <> &1)) do
      :ok ->
        Mix.shell().info("· Python is ready; `mix dspex.doctor` looks at everything")

      {:error, error} ->
        Mix.shell().error(error.message)
        exit({:shutdown, 1})
    end
  end
end
