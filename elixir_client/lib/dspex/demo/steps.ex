defmodule DSPex.Demo.Steps do
  @moduledoc """
  The steps of the demo. Each shows one way to call a program and gives the rows of its calls for the table at the end.
  An error of a single call is raised; of many calls at once each has its own outcome.
  """

  alias DSPex.Demo.Console
  alias DSPex.Demo.Library
  alias DSPex.Error
  alias DSPex.Event
  alias DSPex.Prediction

  @type context :: %{instance: atom, library: Library.t()}
  @type row :: %{
          call: String.t(),
          route: String.t() | nil,
          worker: String.t() | nil,
          ms: float | nil,
          tokens_in: integer | nil,
          tokens_out: integer | nil,
          outcome: String.t()
        }

  # How long a line of the streamed answer grows before the next one begins, in ms.
  @line_ms 250
  @pieces_before_cancel 3
  @idle_ms 10_000

  @doc "One Predict."
  @spec predict(context) :: [row]
  def predict(context) do
    Console.heading(1, "Predict: document, question -> answer")
    question = question(context, 0)
    prediction = DSPex.call!(answer(), inputs(context, question), instance: context.instance)
    Console.field("question", question.question)
    Console.field("answer", prediction["answer"])
    [row("Predict", prediction)]
  end

  @doc "A ChainOfThought whose outputs have types: they arrive as a text, a float and a list."
  @spec chain_of_thought(context) :: [row]
  def chain_of_thought(context) do
    Console.heading(2, "ChainOfThought with typed outputs: answer: str, confidence: float, sources: list[str]")
    question = question(context, 1)
    program = DSPex.ChainOfThought.new("document, question -> answer: str, confidence: float, sources: list[str]")
    prediction = DSPex.call!(program, inputs(context, question), instance: context.instance)
    Console.field("question", question.question)
    Enum.each(prediction.fields, &Console.field(&1, shown(prediction[&1])))
    [row("ChainOfThought", prediction)]
  end

  @doc """
  A streamed ChainOfThought: its fields one after the other. Each line begins with the milliseconds since the call, and
  grows as pieces arrive.
  """
  @spec stream(context) :: [row]
  def stream(context) do
    Console.heading(3, "A streamed ChainOfThought, as it arrives")
    question = question(context, 2)
    Console.field("question", question.question)
    started = now()
    events = DSPex.stream(reasoned(), inputs(context, question), instance: context.instance)
    seen = Enum.reduce(events, %{pieces: 0, field: nil, at: 0, prediction: nil}, &piece(&1, &2, now() - started))
    IO.puts("")
    Console.note("#{seen.pieces} pieces in #{now() - started} ms")
    [row("ChainOfThought, streamed", seen.prediction)]
  end

  @doc "Many questions at once over all workers, with a progress bar."
  @spec many(context, pos_integer) :: [row]
  def many(context, count) do
    questions = Enum.take(context.library.questions, count)
    total = length(questions)
    Console.heading(4, "#{total} questions at once")
    started = now()

    outcomes =
      questions
      |> Task.async_stream(&ask(context, &1), max_concurrency: total, ordered: false, timeout: :infinity)
      |> Enum.with_index(1)
      |> Enum.map(fn {{:ok, outcome}, done} ->
        Console.progress(done, total, now() - started)
        outcome
      end)

    tell(outcomes)
    outcomes |> Enum.sort_by(fn {question, _} -> Enum.find_index(questions, &(&1 == question)) end) |> Enum.map(&row/1)
  end

  @doc "A call that is given up after its first pieces: a stream that nobody reads any more is cancelled in Python too."
  @spec cancel(context) :: [row]
  def cancel(context) do
    Console.heading(5, "A cancelled call")
    started = now()
    events = DSPex.stream(reasoned(), inputs(context, question(context, 3)), instance: context.instance)
    read = events |> Stream.filter(&(&1.type == :token)) |> Enum.take(@pieces_before_cancel)
    given_up = now()
    await_idle(context.instance, given_up + @idle_ms)

    Console.note(
      "stopped reading after #{length(read)} pieces; #{now() - given_up} ms later no call ran in Python any more"
    )

    [%{empty_row("ChainOfThought, given up") | route: "python", ms: (given_up - started) / 1, outcome: "cancelled"}]
  end

  defp answer, do: DSPex.Predict.new("document, question -> answer")

  defp reasoned, do: DSPex.ChainOfThought.new("document, question -> answer")

  defp question(context, index), do: Enum.at(context.library.questions, rem(index, length(context.library.questions)))

  defp inputs(context, question),
    do: %{document: Library.document(context.library, question), question: question.question}

  defp piece(%Event{type: :done, prediction: prediction}, seen, _ms), do: %{seen | prediction: prediction}

  defp piece(%Event{type: :token, text: text} = event, seen, ms) when text not in [nil, ""] do
    field = if event.field != seen.field, do: "#{event.field}: ", else: ""
    line? = field != "" or div(seen.at, @line_ms) != div(ms, @line_ms)
    if line?, do: IO.write(["\n   ", String.pad_leading("+#{ms}", 6), " ms  ", field])
    text = String.replace(text, "\n", " ")
    IO.write(if line?, do: String.trim_leading(text), else: text)
    %{seen | pieces: seen.pieces + 1, field: event.field, at: ms}
  end

  defp piece(_other, seen, _ms), do: seen

  defp ask(context, question) do
    {question, DSPex.call(answer(), inputs(context, question), instance: context.instance)}
  end

  defp tell(outcomes) do
    answered = for {question, {:ok, prediction}} <- outcomes, do: {question, prediction["answer"]}
    failed = for {_question, {:error, error}} <- outcomes, do: error
    expected = for {%{expect: expect}, answer} <- answered, is_binary(expect), do: {expect, answer}
    found = Enum.count(expected, fn {expect, answer} -> contains?(answer, expect) end)
    Console.note("#{found} of #{length(expected)} answers hold what was expected")
    if failed != [] and answered == [], do: raise(hd(failed))
  end

  defp contains?(answer, expect), do: String.contains?(String.downcase(answer), String.downcase(expect))

  # Asks the workers themselves until none works on a call. A cancelled call has its one answer to write first.
  defp await_idle(instance, deadline) do
    cond do
      busy_in_python(instance) == 0 ->
        :ok

      now() > deadline ->
        raise Error.new(:internal, "a call that was cancelled #{@idle_ms} ms ago still runs in Python")

      true ->
        await_idle(instance, deadline)
    end
  end

  defp busy_in_python(instance) do
    {:ok, %{default: pool}} = DSPex.info(instance)

    for %{index: index} <- pool.workers, reduce: 0 do
      sum ->
        case DSPex.request("worker/status", [], instance: instance, worker: index, timeout: @idle_ms) do
          {:ok, status} -> sum + status["in_flight"]
          {:error, error} -> raise error
        end
    end
  end

  defp row({question, {:ok, prediction}}), do: row(question.question, prediction)

  defp row({question, {:error, %Error{reason: reason}}}),
    do: %{empty_row(question.question) | outcome: Atom.to_string(reason)}

  defp row(call, %Prediction{meta: meta, usage: usage}) do
    %{
      empty_row(call)
      | route: meta["route"],
        worker: meta["worker"],
        ms: meta["duration_ms"] / 1,
        tokens_in: usage["prompt_tokens"],
        tokens_out: usage["completion_tokens"]
    }
  end

  defp empty_row(call) do
    %{call: String.slice(call, 0, 44), route: nil, worker: nil, ms: nil, tokens_in: nil, tokens_out: nil, outcome: "ok"}
  end

  defp shown(value) when is_binary(value), do: value
  defp shown(value) when is_list(value), do: Enum.map_join(value, " · ", &shown/1)
  defp shown(value), do: inspect(value)

  defp now, do: System.monotonic_time(:millisecond)
end
