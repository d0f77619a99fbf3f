defmodule DSPex.Wire.Json.Digits do
  @moduledoc false
  # Reading a number takes time that grows with the square of its digits, in code that can't be interrupted: a body of
  # one long number would stop a scheduler for hours. Python has the same limit of its own.

  @limit 4300
  # Any run of digits above the limit covers one whole block of half its size.
  @block div(@limit, 2)

  @doc "What a number of too many digits is refused with."
  @spec refusal() :: {:limit_exceeded, String.t(), String.t()}
  def refusal, do: {:limit_exceeded, "a number has more than #{@limit} digits", "max_digits"}

  @doc "Reads an integer in decimal; throws when it has too many digits."
  @spec integer(String.t()) :: {:ok, integer} | :error
  def integer(<<sign, _rest::binary>> = text)
      when byte_size(text) > @limit and (sign != ?- or byte_size(text) > @limit + 1),
      do: throw(refusal())

  def integer(text), do: if(Regex.match?(~r/\A-?\d+\z/, text), do: {:ok, String.to_integer(text)}, else: :error)

  @doc "Whether no number outside of strings has more digits in a row than the limit."
  @spec bounded?(binary) :: boolean
  def bounded?(text) when byte_size(text) <= @limit, do: true
  def bounded?(text), do: not block?(text) or value(text, 0)

  # One byte in two thousand is looked at, and nearly never more.
  defp block?(<<digit, inner::binary-size(@block - 2), last, rest::binary>>)
       when digit in ?0..?9 and last in ?0..?9,
       do: digits?(inner) or block?(rest)

  defp block?(<<_block::binary-size(@block), rest::binary>>), do: block?(rest)
  defp block?(_rest), do: false

  defp digits?(<<digit, rest::binary>>) when digit in ?0..?9, do: digits?(rest)
  defp digits?(rest), do: rest == ""

  defp value(<<digit, rest::binary>>, run) when digit in ?0..?9, do: run < @limit and value(rest, run + 1)
  defp value(<<?", rest::binary>>, _run), do: string(rest)
  defp value(<<_other, rest::binary>>, _run), do: value(rest, 0)
  defp value(<<>>, _run), do: true

  defp string(<<?", rest::binary>>), do: value(rest, 0)
  defp string(<<?\\, _escaped, rest::binary>>), do: string(rest)
  defp string(<<_other, rest::binary>>), do: string(rest)
  defp string(<<>>), do: true
end
