defmodule Mix.Tasks.Dspex.Demo do
  @shortdoc "Answers questions over documents through two Python workers"

  @moduledoc """
  Runs the demo of `DSPex.Demo`.

      mix dspex.demo [--examples FOLDER] [--workers N] [--questions N]

  Without `DSPEX_LM` it needs no network: `offline/extractive` copies the sentences that match best, and is not a language
  model. With a real one:

      DSPEX_LM=openai/gpt-4o-mini OPENAI_API_KEY=… mix dspex.demo

  The exit status is 1 when a call fails.
  """
  use Mix.Task

  @switches [examples: :string, workers: :integer, questions: :integer]

  @impl Mix.Task
  def run(arguments) do
    {options, rest, invalid} = OptionParser.parse(arguments, strict: @switches)
    if rest != [] or invalid != [], do: Mix.raise("mix dspex.demo takes --examples, --workers and --questions")
    Mix.Task.run("app.start")

    case DSPex.Demo.run(options) do
      :ok ->
        :ok

      {:error, error} ->
        Mix.shell().error(Exception.message(error))
        exit({:shutdown, 1})
    end
  end
end
