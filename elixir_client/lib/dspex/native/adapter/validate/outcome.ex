defmodule DSPex.Native.Adapter.Validate.Outcome do
  @moduledoc false
  # What a check of a value against a type gives, and how it says what is wrong.

  alias DSPex.Native.Python

  @type problems :: [{[String.t() | non_neg_integer], String.t()}]
  @typedoc "A value, how exact it was (2 exact, 1 strict, 0 coerced), and the number of a model's given fields."
  @type result :: {:ok, Python.value(), 0..2, non_neg_integer | nil} | {:error, problems}

  @doc "The problem of a value that is of a wrong kind."
  @spec wrong(String.t(), Python.value()) :: {:error, problems}
  def wrong(what, value), do: {:error, [{[], "#{what}, not #{shown(value)}"}]}

  # A problem is read by people and logged: long values are cut.
  defp shown(value) do
    text = Python.repr(value)
    if byte_size(text) > 120, do: String.slice(text, 0, 80) <> "…", else: text
  end
end
