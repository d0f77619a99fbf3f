defmodule DSPex.Native.Metrics do
  @moduledoc """
  DSPy's metrics without Python, equal to DSPy 3.4.1's on text, scores and ties.

  Where DSPy raises, these raise `ArgumentError`: an empty list of answers, or values of other types.

  Examples and predictions are maps with text keys; a `DSPex.Prediction` works where its outputs have the field.
  """

  alias DSPex.Native.Text

  @labels ["yes", "no", "noanswer"]

  @typedoc "A map of fields, or anything that `Access` reads."
  @type fields :: map | DSPex.Ordered.t()

  @doc """
  Exact match after normalising (`EM`): whether any answer equals the prediction.

      iex> DSPex.Native.Metrics.exact_match("The Eiffel Tower", ["Eiffel Tower", "Louvre"])
      true
  """
  @spec exact_match(String.t(), [String.t()]) :: boolean
  def exact_match(prediction, answers) do
    normal = normalize(prediction)
    # As in DSPy, an answer that is no text is an error, wherever it stands.
    answers |> answers!() |> Enum.map(&normalize/1) |> Enum.member?(normal)
  end

  @doc """
  The best token F1 over the answers (`F1`): tokens are counted as bags.

      iex> DSPex.Native.Metrics.f1("x y z", ["x y", "z"])
      0.8
  """
  @spec f1(String.t(), [String.t()]) :: float
  def f1(prediction, answers), do: best(prediction, answers, &f1_of/2)

  @doc """
  HotPotQA's F1: as `f1/2`, but 0 when one side is yes, no or noanswer and the other is not the same.

      iex> DSPex.Native.Metrics.hotpot_f1("yes sir", ["yes"])
      0.0
  """
  @spec hotpot_f1(String.t(), [String.t()]) :: float
  def hotpot_f1(prediction, answers) do
    best(prediction, answers, fn prediction, answer ->
      if prediction != answer and (prediction in @labels or answer in @labels), do: 0.0, else: f1_of(prediction, answer)
    end)
  end

  @doc """
  The share of the prediction's tokens that the answer has.

      iex> DSPex.Native.Metrics.precision("x y z w v", "x")
      0.2
  """
  @spec precision(String.t(), String.t()) :: float
  def precision(prediction, answer) do
    {precision, _recall} = overlap(normalize(prediction), normalize(answer))
    precision
  end

  @doc """
  The share of the answer's tokens that the prediction has.

      iex> DSPex.Native.Metrics.recall("x", "x y")
      0.5
  """
  @spec recall(String.t(), String.t()) :: float
  def recall(prediction, answer), do: precision(answer, prediction)

  @doc """
  DSPy's `answer_exact_match`: the field `answer` of both; below 1.0, `frac` is a threshold for the F1.

      iex> DSPex.Native.Metrics.answer_exact_match(%{"answer" => "Paris"}, %{"answer" => "Paris France"}, 0.5)
      true
  """
  @spec answer_exact_match(fields, fields, number) :: boolean
  def answer_exact_match(example, prediction, frac \\ 1.0) do
    answers = references!(example["answer"])
    if frac >= 1.0, do: exact_match(prediction["answer"], answers), else: f1(prediction["answer"], answers) >= frac
  end

  @doc """
  DSPy's `answer_passage_match`: whether a passage of `context` holds an answer, token by token.

      iex> DSPex.Native.Metrics.answer_passage_match(%{"answer" => "U.S.A."}, %{"context" => ["the usa is"]})
      true
  """
  @spec answer_passage_match(fields, fields) :: boolean
  def answer_passage_match(example, prediction) do
    answers = references!(example["answer"])

    case passages!(prediction["context"]) do
      [] -> false
      passages -> in_passage?(passages, Enum.map(answers, &normal_tokens/1))
    end
  end

  defp in_passage?(passages, answers), do: Enum.any?(passages, &(&1 |> normal_tokens() |> passage_has?(answers)))

  defp normal_tokens(text), do: text |> normalize() |> Text.tokens()

  @doc """
  The score of `dspy.Evaluate` in percent, to two places: `nil` stands for an example that failed, `true` is 1.

      iex> DSPex.Native.Metrics.accuracy([true, false, nil, 0.5])
      37.5
  """
  @spec accuracy([boolean | number | nil], number) :: float
  def accuracy([_first | _rest] = scores, failure_score \\ 0.0) do
    sum = Enum.reduce(scores, 0.0, &(&2 + score(&1, failure_score)))
    round_half_even(100 * sum / length(scores))
  end

  @doc """
  The completion whose `field` is the most frequent after `normalize`; of equals the earliest. Values that normalise to
  nothing are left out unless all do. The default field is the last one.

      iex> DSPex.Native.Metrics.majority([%{"answer" => "Paris"}, %{"answer" => "paris!"}, %{"answer" => "Rome"}], "answer")
      %{"answer" => "Paris"}
  """
  @spec majority([fields], String.t(), (term -> term)) :: fields
  def majority([_first | _rest] = completions, field, normalize \\ &__MODULE__.normalize/1) do
    values = Enum.map(completions, &blank_to_nil(normalize.(&1[field])))
    counted = Enum.reject(values, &is_nil/1)
    counted = if counted == [], do: values, else: counted
    counts = Enum.frequencies(counted)
    most = counts |> Map.values() |> Enum.max()
    winner = Enum.find(counted, &(counts[&1] == most))
    Enum.at(completions, Enum.find_index(values, &(&1 == winner)))
  end

  @doc """
  The arithmetic of `SemanticF1`: F1 of a judge's precision and recall, each cut to 0 … 1.

      iex> DSPex.Native.Metrics.semantic_f1(0.5, 1.0)
      0.6666666666666666
  """
  @spec semantic_f1(number, number) :: float
  def semantic_f1(precision, recall) do
    {precision, recall} = {clamp(precision), clamp(recall)}
    if precision + recall == 0, do: 0.0, else: 2 * (precision * recall) / (precision + recall)
  end

  @doc """
  Whether a semantic F1 passes while optimising.

      iex> DSPex.Native.Metrics.semantic_f1_passes?(0.66, 0.66)
      true
  """
  @spec semantic_f1_passes?(number, number, number) :: boolean
  def semantic_f1_passes?(precision, recall, threshold \\ 0.66), do: semantic_f1(precision, recall) >= threshold

  @doc """
  DSPy's `normalize_text`; raises on what is no text.

      iex> DSPex.Native.Metrics.normalize("an e-mail")
      "email"
  """
  @spec normalize(String.t()) :: String.t()
  def normalize(text) when is_binary(text), do: Text.normalize(text)
  def normalize(other), do: raise(ArgumentError, "a metric compares text, not #{inspect(other, limit: 5)}")

  defp best(prediction, answers, score) do
    prediction = normalize(prediction)
    answers |> answers!() |> Enum.map(&score.(prediction, normalize(&1))) |> Enum.max()
  end

  defp f1_of(prediction, answer) do
    case overlap(prediction, answer) do
      {precision, _recall} when precision == 0 -> 0.0
      {precision, recall} -> 2 * precision * recall / (precision + recall)
    end
  end

  # Both are in normal form, with single spaces alone; the tokens are bags.
  defp overlap(prediction, answer) do
    {prediction, answer} = {words(prediction), words(answer)}
    size = length(prediction)
    same = size - length(prediction -- answer)
    if same == 0, do: {0.0, 0.0}, else: {same / size, same / length(answer)}
  end

  defp words(text), do: :binary.split(text, " ", [:global, :trim_all])

  defp passage_has?(tokens, answers), do: Enum.any?(answers, &run?(tokens, &1))

  defp run?(tokens, answer) do
    List.starts_with?(tokens, answer) or (tokens != [] and run?(tl(tokens), answer))
  end

  defp answers!([_first | _rest] = answers), do: answers
  defp answers!([]), do: raise(ArgumentError, "the list of answers is empty")
  defp answers!(other), do: raise(ArgumentError, "answers must be a list, not #{inspect(other, limit: 5)}")

  defp references!(answer) when is_binary(answer), do: [answer]
  defp references!(answers) when is_list(answers), do: answers
  defp references!(other), do: raise(ArgumentError, "`answer` must be text or a list, not #{inspect(other, limit: 5)}")

  # DSPy iterates over whatever `context` is: a text is walked character by character.
  defp passages!(passages) when is_list(passages), do: passages
  defp passages!(text) when is_binary(text), do: String.codepoints(text)
  defp passages!(other), do: raise(ArgumentError, "`context` must be a list of text, not #{inspect(other, limit: 5)}")

  defp score(nil, failure_score), do: failure_score
  defp score(true, _failure_score), do: 1
  defp score(false, _failure_score), do: 0
  defp score(number, _failure_score) when is_number(number), do: number

  defp blank_to_nil(""), do: nil
  defp blank_to_nil(value), do: value

  defp clamp(number), do: number |> max(0.0) |> min(1.0)

  # Python's round(x, 2) is exact on the binary value and takes ties to even; Float.round/2 takes them away from zero.
  defp round_half_even(value) do
    {numerator, denominator} = Float.ratio(value * 1.0)
    {whole, rest} = {Integer.floor_div(numerator * 100, denominator), Integer.mod(numerator * 100, denominator)}
    up? = 2 * rest > denominator or (2 * rest == denominator and Integer.mod(whole, 2) == 1)
    if(up?, do: whole + 1, else: whole) / 100
  end
end
