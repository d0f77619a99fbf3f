defmodule DSPex.Native.Signature.Prefix do
  @moduledoc "The words that DSPy makes of a field's name."

  @doc """
  A readable form of a name, as DSPy infers it.

      iex> Enum.map(["question", "getHTTPResponseCode", "text2number", "snake_case"], &DSPex.Native.Signature.Prefix.infer/1)
      ["Question", "Get HTTP Response Code", "Text 2 Number", "Snake Case"]
  """
  @spec infer(String.t()) :: String.t()
  def infer(<<first, rest::binary>> = name) when first in ?a..?z do
    if simple?(rest), do: words(rest, <<first - 32>>), else: split(name)
  end

  def infer(name), do: split(name)

  # Most names have lower-case letters and underscores only: no regular expression is needed for them.
  defp simple?(<<char, rest::binary>>) when char in ?a..?z or char == ?_, do: simple?(rest)
  defp simple?(rest), do: rest == ""

  defp words(<<?_, char, rest::binary>>, done) when char != ?_, do: words(rest, <<done::binary, ?\s, char - 32>>)
  defp words(<<?_, rest::binary>>, done), do: words(rest, <<done::binary, ?\s>>)
  defp words(<<char, rest::binary>>, done), do: words(rest, <<done::binary, char>>)
  defp words("", done), do: done

  defp split(name) do
    name
    |> replace(~r/(.)([A-Z][a-z]+)/u)
    |> replace(~r/([a-z0-9])([A-Z])/u)
    |> replace(~r/([a-zA-Z])(\d)/u)
    |> replace(~r/(\d)([a-zA-Z])/u)
    |> String.split("_")
    |> Enum.map_join(" ", &title/1)
  end

  defp replace(name, pattern), do: Regex.replace(pattern, name, "\\1_\\2")

  # As in Python: upper case means at least one cased letter, and none of them lower.
  defp title(word) do
    upper = String.upcase(word)
    if word == upper and upper != String.downcase(word), do: word, else: String.capitalize(word)
  end
end
