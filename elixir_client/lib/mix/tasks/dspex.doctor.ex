defmodule Mix.Tasks.Dspex.Doctor do
  @shortdoc "Checks what DSPex needs, and says how to mend what is missing"

  @moduledoc """
  Checks Elixir, OTP, JSON, Python, python_bridge, dspy, and starts a worker for one offline call.

      mix dspex.doctor [--python PATH] [--no-worker]

  Each check that fails shows its fix. The exit status is 1 when one failed.
  """
  use Mix.Task

  @switches [python: :string, worker: :boolean]

  @impl Mix.Task
  def run(arguments) do
    {options, rest, invalid} = OptionParser.parse(arguments, strict: @switches)
    if rest != [] or invalid != [], do: Mix.raise("mix dspex.doctor takes --python and --no-worker")
    Mix.Task.run("app.start")
    checks = DSPex.Doctor.checks(options)
    Mix.shell().info(DSPex.Doctor.format(checks))
    unless DSPex.Doctor.healthy?(checks), do: exit({:shutdown, 1})
  end
end
