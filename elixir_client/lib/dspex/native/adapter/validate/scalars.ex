defmodule DSPex.Native.Adapter.Validate.Scalars do
  @moduledoc false
  # Texts, numbers, booleans, None.

  alias DSPex.Native.Adapter.Validate.Outcome
  alias DSPex.Native.Python

  @true_words ~w(1 on t true y yes)
  @complex ~r/\A\(?(?=[^)])(?:[+-]?(?:\d[\d_]*\.?\d*|\.\d+|inf|infinity|nan)(?:e[+-]?\d+)?(?!j))?(?:[+-]?(?:\d*\.?\d*)(?:e[+-]?\d+)?j)?\)?\z/i
  @false_words ~w(0 off f false n no)

  @doc false
  @spec run(Python.value(), atom) :: Outcome.result()
  def run(value, :any), do: {:ok, value, 0, nil}
  def run(nil, type) when type in [:none, :none_value], do: exact(nil)
  def run(value, type) when type in [:none, :none_value], do: Outcome.wrong("None is expected", value)
  def run(value, :str) when is_binary(value), do: exact(value)
  def run({:bytes, bytes} = value, :str), do: if(String.valid?(bytes), do: lax(bytes), else: text(value))
  def run(value, :str), do: text(value)
  def run(value, :int) when is_integer(value), do: exact(value)
  def run(true, :int), do: lax(1)
  def run(false, :int), do: lax(0)

  # A float beyond 64 bits is no whole number there, though it has no fraction.
  def run(value, :int) when is_float(value) do
    if trunc(value) == value and trunc(value) in -0x8000000000000000..0x7FFFFFFFFFFFFFFF,
      do: lax(trunc(value)),
      else: whole(value)
  end

  def run(value, :int) when is_binary(value), do: digits(value)
  def run({:decimal, text} = value, :int), do: with({:error, _problems} <- digits(text), do: whole(value))
  def run(value, :int), do: whole(value)
  def run(value, :float) when is_float(value), do: exact(value)
  def run(value, :float) when value in [:nan, :infinity, :neg_infinity], do: exact(value)
  def run(value, :float) when is_integer(value), do: {:ok, to_float(value), 1, nil}
  def run(true, :float), do: lax(1.0)
  def run(false, :float), do: lax(0.0)
  def run(value, :float) when is_binary(value), do: number(value)
  def run({:decimal, text}, :float), do: number(text)
  def run(value, :float), do: Outcome.wrong("a number is expected", value)
  def run(value, :bool) when is_boolean(value), do: exact(value)
  def run(value, :bool) when is_number(value) and (value == 0 or value == 1), do: lax(value == 1)
  def run(value, :bool) when is_binary(value), do: word(value)
  def run(value, :bool), do: Outcome.wrong("a boolean is expected", value)
  def run({:bytes, _bytes} = value, :bytes), do: exact(value)
  def run(value, :bytes) when is_binary(value), do: lax({:bytes, value})
  def run(value, :bytes), do: Outcome.wrong("bytes are expected", value)
  def run(value, :complex) when is_number(value), do: lax(value)

  def run(value, :complex) when is_binary(value),
    do:
      if(Regex.match?(@complex, Python.strip(value)), do: lax(value), else: Outcome.wrong("a number is expected", value))

  def run(value, :complex), do: Outcome.wrong("a number is expected", value)

  defp exact(value), do: {:ok, value, 2, nil}
  defp lax(value), do: {:ok, value, 0, nil}

  defp text(value), do: Outcome.wrong("a text is expected", value)
  defp whole(value), do: Outcome.wrong("a whole number is expected", value)

  # Underscores between digits and a fraction of zeros are taken, exponents are not.
  defp digits(value) do
    case Regex.run(~r/\A([+-]?\d+(?:_\d+)*)(?:\.0+)?\z/, Python.strip(value)) do
      [_all, digits] when byte_size(digits) <= 4300 -> digits |> String.replace("_", "") |> String.to_integer() |> lax()
      _other -> whole(value)
    end
  end

  # The common form first.
  defp number(value) do
    case Python.float(value) do
      {:ok, number} -> lax(number)
      :error -> other_number(value)
    end
  end

  defp other_number(value) do
    text = value |> Python.strip() |> without_underscores()

    case {String.downcase(text), Python.float(text)} do
      {_text, {:ok, number}} -> lax(number)
      {word, :error} -> word |> named() |> found(value)
    end
  end

  # Single ones inside of the text, wherever they stand.
  defp without_underscores(text) do
    if String.contains?(text, "_") and not String.match?(text, ~r/\A_|__|_\z/),
      do: String.replace(text, "_", ""),
      else: text
  end

  defp named(word) when word in ~w(nan +nan -nan), do: :nan
  defp named(word) when word in ~w(inf +inf infinity +infinity), do: :infinity
  defp named(word) when word in ~w(-inf -infinity), do: :neg_infinity
  defp named(_word), do: nil

  defp found(nil, value), do: Outcome.wrong("a number is expected", value)
  defp found(number, _value), do: lax(number)

  defp to_float(value) do
    value / 1
  rescue
    ArithmeticError -> if value > 0, do: :infinity, else: :neg_infinity
  end

  defp word(value) do
    case String.downcase(value) do
      word when word in @true_words -> lax(true)
      word when word in @false_words -> lax(false)
      _other -> Outcome.wrong("a boolean is expected", value)
    end
  end
end
