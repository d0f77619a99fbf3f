defmodule DSPex.Error.Table do
  @moduledoc """
  Reads `proto/errors.toml`, the one table of errors that both languages share.

  Only the subset of TOML that the table uses is understood: `[[error]]` headers and `key = value` lines whose value is a
  quoted text, an integer or a boolean. Anything else raises, so that a change of the table's form can't go unseen.
  """

  @type row :: %{required(String.t()) => String.t() | integer | boolean}

  @doc """
  Parses the text of the table into one map a row, in the order of the file.

      iex> DSPex.Error.Table.parse!(~s([[error]]\\nkind = "timeout"\\ncode = -32011\\nretryable = false\\n))
      [%{"kind" => "timeout", "code" => -32011, "retryable" => false}]
  """
  @spec parse!(String.t()) :: [row]
  def parse!(text) do
    text
    |> String.split("\n")
    |> Enum.map(&String.trim/1)
    |> Enum.reject(&(&1 == "" or String.starts_with?(&1, "#")))
    |> Enum.reduce([], &line/2)
    |> Enum.reverse()
  end

  defp line("[[error]]", rows), do: [%{} | rows]

  defp line(text, [row | rows]) do
    [key, value] = String.split(text, " = ", parts: 2)
    [Map.put(row, key, value!(value)) | rows]
  end

  defp line(text, []), do: raise(ArgumentError, "errors.toml: #{inspect(text)} stands before the first [[error]]")

  defp value!("true"), do: true
  defp value!("false"), do: false
  defp value!(<<?", rest::binary>>), do: unquote!(rest, "")

  defp value!(text) do
    case Integer.parse(text) do
      {number, ""} -> number
      _other -> raise ArgumentError, "errors.toml: #{inspect(text)} is no text, integer or boolean"
    end
  end

  defp unquote!(<<?\\, char, rest::binary>>, text) when char in [?", ?\\], do: unquote!(rest, <<text::binary, char>>)
  defp unquote!(<<?">>, text), do: text
  defp unquote!(<<char, rest::binary>>, text) when char not in [?", ?\\], do: unquote!(rest, <<text::binary, char>>)
  defp unquote!(rest, _text), do: raise(ArgumentError, "errors.toml: cannot read the text before #{inspect(rest)}")
end
