defmodule DSPex.Native.JsonSchema.Format do
  @moduledoc """
  The formats of draft 2020-12, for schemas compiled with `formats: :assert`. An unknown format passes.
  """

  @email ~r/\A[A-Za-z0-9!#$%&'*+\/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+\/=?^_`{|}~-]+)*@(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*\z/
  @label ~r/\A[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\z/
  @uuid ~r/\A[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\z/
  @time ~r/\A(\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:[Zz]|[+-](\d\d):(\d\d))\z/
  @duration ~r/\AP(?!\z)(?:\d+W|(?:\d+Y)?(?:\d+M)?(?:\d+D)?(?:T(?=\d)(?:\d+H)?(?:\d+M)?(?:\d+S)?)?)\z/
  @pointer ~r/\A(?:\/(?:[^~\/]|~[01])*)*\z/
  @relative_pointer ~r/\A(?:0|[1-9]\d*)(?:#|(?:\/(?:[^~\/]|~[01])*)*)\z/

  @doc """
  Whether the text has the format.

      iex> DSPex.Native.JsonSchema.Format.valid?("date", "2026-02-30")
      false
      iex> DSPex.Native.JsonSchema.Format.valid?("ipv6", "::1")
      true
  """
  @spec valid?(String.t(), String.t()) :: boolean
  def valid?("date", text), do: byte_size(text) == 10 and match?({:ok, _date}, Date.from_iso8601(text))
  def valid?("time", text), do: time?(Regex.run(@time, text))

  def valid?("date-time", text) do
    case String.split(text, ["T", "t"], parts: 2) do
      [date, time] -> valid?("date", date) and valid?("time", time)
      _other -> false
    end
  end

  def valid?("duration", text), do: Regex.match?(@duration, text)

  def valid?(format, text) when format in ["email", "idn-email"],
    do: format == "idn-email" or Regex.match?(@email, text)

  def valid?("hostname", text) do
    byte_size(text) in 1..253 and text |> String.split(".") |> Enum.all?(&Regex.match?(@label, &1))
  end

  def valid?("ipv4", text) do
    match?({:ok, _address}, :inet.parse_ipv4strict_address(String.to_charlist(text))) and
      text |> String.split(".") |> Enum.all?(&(&1 == "0" or not String.starts_with?(&1, "0")))
  end

  def valid?("ipv6", text) do
    not String.contains?(text, "%") and
      match?({:ok, _address}, :inet.parse_ipv6strict_address(String.to_charlist(text)))
  end

  def valid?("uuid", text), do: Regex.match?(@uuid, text)
  def valid?("json-pointer", text), do: Regex.match?(@pointer, text)
  def valid?("relative-json-pointer", text), do: Regex.match?(@relative_pointer, text)
  def valid?("regex", text), do: match?({:ok, _pattern}, DSPex.Native.JsonSchema.Pattern.compile(text))

  def valid?(format, text) when format in ["uri", "iri"],
    do: uri?(text) and Regex.match?(~r/\A[A-Za-z][A-Za-z0-9+.-]*:/, text)

  def valid?(format, text) when format in ["uri-reference", "iri-reference"], do: uri?(text)
  def valid?(_unknown, _text), do: true

  defp uri?(text), do: not String.contains?(text, ["\\", " ", "^", "|"]) and is_map(:uri_string.parse(text))

  defp time?([_all, "23", "59", "60"]), do: true
  defp time?([_all, "23", "59", "60", "00", "00"]), do: true

  defp time?([_all | numbers]) do
    numbers
    |> Enum.map(&String.to_integer/1)
    |> Enum.zip([23, 59, 59, 23, 59])
    |> Enum.all?(fn {n, max} -> n <= max end)
  end

  defp time?(nil), do: false
end
