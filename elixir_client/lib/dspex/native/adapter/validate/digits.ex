defmodule DSPex.Native.Adapter.Validate.Digits do
  @moduledoc false
  # How many digits a decimal has, as pydantic counts them: with and without the zeros at its end.

  @doc """
  Whether a decimal keeps `"max_digits"`, `"decimal_places"` or `"whole_digits"`.

      iex> DSPex.Native.Adapter.Validate.Digits.fit?("12.50", "decimal_places", 1)
      true
      iex> DSPex.Native.Adapter.Validate.Digits.fit?("1E+5", "max_digits", 3)
      false
  """
  @spec fit?(String.t(), String.t(), pos_integer) :: boolean
  def fit?(text, name, limit) do
    {digits, exponent} = parts(text)
    Enum.any?([{digits, exponent}, normal(digits, exponent)], &(counted(&1, name) <= limit))
  end

  defp parts(text) do
    [_all, whole, fraction, exponent] = Regex.run(~r/\A-?(\d*)\.?(\d*)(?:E([+-]?\d+))?\z/, text) |> padded()
    shift = if exponent == "", do: 0, else: String.to_integer(exponent)
    {String.trim_leading(whole <> fraction, "0"), shift - byte_size(fraction)}
  end

  defp padded(parts), do: Enum.take(parts ++ ["", "", ""], 4)

  defp normal("", _exponent), do: {"", 0}

  defp normal(digits, exponent) do
    kept = String.trim_trailing(digits, "0")
    {kept, exponent + byte_size(digits) - byte_size(kept)}
  end

  defp counted({digits, exponent}, "max_digits") when exponent >= 0, do: byte_size(digits) + exponent
  defp counted({digits, exponent}, "max_digits"), do: max(byte_size(digits), -exponent)
  defp counted({_digits, exponent}, "decimal_places"), do: max(0, -exponent)
  defp counted(parts, "whole_digits"), do: max(0, counted(parts, "max_digits") - counted(parts, "decimal_places"))
end
