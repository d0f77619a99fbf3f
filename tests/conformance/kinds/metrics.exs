defmodule DSPex.Conformance.Metrics do
  # DSPy's metrics: `fn` names the function, `expected` its value or that it raises. 0 and 0.0 are equal, floats to 1e-12.

  alias DSPex.Native.Metrics
  alias DSPex.Native.Text

  def checks(document) do
    for vector <- document["cases"], do: {vector["id"], fn -> check(vector, vector["expected"]) end}
  end

  defp check(vector, expected) do
    got =
      try do
        {:ok, run(vector["fn"], vector, vector["args"])}
      rescue
        error in ArgumentError -> {:raised, error.message}
      end

    case {expected["ok"], got} do
      {false, {:raised, _message}} -> :ok
      {true, {:ok, value}} -> if(same?(value, expected["value"]), do: :ok, else: {:error, "gave #{inspect(value)}"})
      _other -> {:error, "expected #{inspect(expected)}, got #{inspect(got)}"}
    end
  end

  defp run("normalize_text", _vector, [text]), do: Metrics.normalize(text)
  defp run("EM", _vector, [prediction, answers]), do: Metrics.exact_match(prediction, answers)
  defp run("em_score", _vector, [prediction, answer]), do: Metrics.exact_match(prediction, [answer])
  defp run("F1", _vector, [prediction, answers]), do: Metrics.f1(prediction, answers)
  defp run("f1_score", _vector, [prediction, answer]), do: Metrics.f1(prediction, [answer])
  defp run("HotPotF1", _vector, [prediction, answers]), do: Metrics.hotpot_f1(prediction, answers)
  defp run("hotpot_f1_score", _vector, [prediction, answer]), do: Metrics.hotpot_f1(prediction, [answer])
  defp run("precision_score", _vector, [prediction, answer]), do: Metrics.precision(prediction, answer)
  defp run("DPR_normalize", _vector, [text]), do: Text.tokens(text)
  defp run("strip_accents", _vector, [text]), do: Text.strip_accents(text)
  defp run("auto_f1", _vector, [precision, recall]), do: Metrics.semantic_f1(precision, recall)
  defp run("Evaluate", _vector, [scores]), do: Metrics.accuracy(scores)

  defp run("answer_exact_match", vector, _args) do
    Metrics.answer_exact_match(vector["example"], vector["pred"], vector["frac"] || 1.0)
  end

  defp run("answer_passage_match", vector, _args), do: Metrics.answer_passage_match(vector["example"], vector["pred"])

  defp run("majority", _vector, [answers]) do
    answers |> Enum.map(&%{"answer" => &1}) |> Metrics.majority("answer")
  end

  defp run("SemanticF1", vector, _args), do: judged(vector["script"]["precision"], vector["script"]["recall"], vector)

  defp run("CompleteAndGrounded", vector, _args) do
    [completeness, groundedness] = vector["scripts"]
    judged(groundedness["groundedness"], completeness["completeness"], vector)
  end

  defp judged(precision, recall, vector) do
    if vector["trace"],
      do: Metrics.semantic_f1_passes?(precision, recall, vector["threshold"] || 0.66),
      else: Metrics.semantic_f1(precision, recall)
  end

  defp same?(value, expected) when is_number(value) and is_number(expected), do: abs(value - expected) <= 1.0e-12
  defp same?(value, expected), do: value == DSPex.Ordered.plain(expected)
end
