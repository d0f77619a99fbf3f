defmodule DSPex.Demo do
  @moduledoc """
  The main job on real input: questions over the documents in `examples/`, answered by two Python workers. A Predict, a
  ChainOfThought with typed outputs, a streamed answer, twenty questions at once, a cancelled call; at the end a table.

  Without `DSPEX_LM` it runs offline with `offline/extractive`, which is **not** a language model: it copies the
  sentences that match best.
  """

  alias DSPex.Demo.Console
  alias DSPex.Demo.Library
  alias DSPex.Demo.Steps
  alias DSPex.Demo.Table
  alias DSPex.Error

  @offline "offline/extractive"

  @doc """
  Runs the demo and writes to standard output.

  Options:

    * `:examples` – folder with `documents/` and `questions.json` (`"examples"`)
    * `:lm` – model of the LM (`DSPEX_LM`, or `"offline/extractive"`)
    * `:workers` – Python processes (2)
    * `:questions` – how many are asked at once (20)
    * `:pool` – further options of the pool
  """
  @spec run(keyword) :: :ok | {:error, Error.t()}
  def run(options \\ []) do
    lm = Keyword.get_lazy(options, :lm, fn -> System.get_env("DSPEX_LM", @offline) end)

    with {:ok, library} <- Library.read(Keyword.get(options, :examples, "examples")) do
      introduce(library, lm)
      with_instance(lm, options, fn instance -> steps(%{instance: instance, library: library}, lm, options) end)
    end
  end

  defp steps(context, lm, options) do
    rows =
      Enum.concat([
        Steps.predict(context),
        Steps.chain_of_thought(context),
        Steps.stream(context),
        Steps.many(context, Keyword.get(options, :questions, 20)),
        Steps.cancel(context)
      ])

    finish(rows, lm)
  rescue
    error in Error -> {:error, error}
  end

  # The instance is named after the process, so that several demos can run in one node.
  defp with_instance(lm, options, function) do
    name = Module.concat(__MODULE__, "Instance#{System.unique_integer([:positive])}")
    workers = Keyword.get(options, :workers, 2)
    pool = Keyword.merge([workers: workers, lm: lm], Keyword.get(options, :pool, []))
    started = System.monotonic_time(:millisecond)
    {:ok, supervisor} = DSPex.start_link(name: name, pools: [default: pool])

    try do
      with :ok <- DSPex.await_ready(name) do
        Console.note("#{workers} Python workers are ready after #{elapsed(started)} ms")
        function.(name)
      end
    after
      Supervisor.stop(supervisor)
    end
  end

  defp introduce(library, lm) do
    words = library.documents |> Map.values() |> Enum.map(&length(String.split(&1))) |> Enum.sum()
    Console.title("DSPex: DSPy programs from Elixir")
    Console.note("#{map_size(library.documents)} documents with #{words} words, LM #{lm}")

    if lm == @offline do
      Console.note(
        "offline/extractive is not a language model: it copies the sentences of the document that match the question best"
      )
    end
  end

  defp finish(rows, lm) do
    Console.title("What ran where")
    header = ["call", "route", "worker", "ms", "tokens in", "tokens out", "outcome"]
    Console.lines(Table.render(header, Enum.map(rows, &cells/1)))
    if lm == @offline, do: Console.advice("With a real LM:  DSPEX_LM=openai/gpt-4o-mini OPENAI_API_KEY=… make demo")
    :ok
  end

  defp cells(row), do: [row.call, row.route, row.worker, row.ms, row.tokens_in, row.tokens_out, row.outcome]

  defp elapsed(started), do: System.monotonic_time(:millisecond) - started
end
