defmodule DSPex.Native.JsonSchema.Pattern do
  @moduledoc """
  ECMA-262 regular expressions (with the `u` flag) on PCRE.

  What the two spell differently is translated: `\\p{Letter}`, `\\p{Script=Greek}`, `\\uXXXX`, `\\u{…}`, `[^]`, `\\s`; `$` ends
  the text and nothing else. PCRE's own escapes (`\\A`, `\\Z`, `\\h`, …) are refused. Matching is bounded: a pattern that
  backtracks for ever counts as one that does not match.
  """

  alias DSPex.Error

  @match_limit 500_000
  @recursion_limit 20_000

  @space "\\t\\n\\x0B\\f\\r \\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}\\x{feff}"

  @categories %{
    "Letter" => "L",
    "Cased_Letter" => "L&",
    "Lowercase_Letter" => "Ll",
    "Uppercase_Letter" => "Lu",
    "Titlecase_Letter" => "Lt",
    "Modifier_Letter" => "Lm",
    "Other_Letter" => "Lo",
    "Mark" => "M",
    "Nonspacing_Mark" => "Mn",
    "Spacing_Mark" => "Mc",
    "Enclosing_Mark" => "Me",
    "Number" => "N",
    "Decimal_Number" => "Nd",
    "digit" => "Nd",
    "Letter_Number" => "Nl",
    "Other_Number" => "No",
    "Punctuation" => "P",
    "punct" => "P",
    "Connector_Punctuation" => "Pc",
    "Dash_Punctuation" => "Pd",
    "Open_Punctuation" => "Ps",
    "Close_Punctuation" => "Pe",
    "Initial_Punctuation" => "Pi",
    "Final_Punctuation" => "Pf",
    "Other_Punctuation" => "Po",
    "Symbol" => "S",
    "Math_Symbol" => "Sm",
    "Currency_Symbol" => "Sc",
    "Modifier_Symbol" => "Sk",
    "Other_Symbol" => "So",
    "Separator" => "Z",
    "Space_Separator" => "Zs",
    "Line_Separator" => "Zl",
    "Paragraph_Separator" => "Zp",
    "Other" => "C",
    "Control" => "Cc",
    "cntrl" => "Cc",
    "Format" => "Cf",
    "Surrogate" => "Cs",
    "Private_Use" => "Co",
    "Unassigned" => "Cn",
    "Lowercase" => "Ll",
    "Uppercase" => "Lu"
  }

  @typedoc "A compiled pattern."
  @type t :: tuple

  @doc "Compiles a pattern."
  @spec compile(String.t()) :: {:ok, t} | {:error, Error.t()}
  def compile(source) do
    with {:ok, translated} <- translate(source),
         {:ok, compiled} <- :re.compile(translated, [:unicode, :dollar_endonly]) do
      {:ok, compiled}
    else
      {:error, {reason, place}} -> {:error, malformed(source, "#{reason}, near character #{place}")}
      {:error, reason} -> {:error, malformed(source, reason)}
    end
  end

  @doc """
  Whether the pattern is found anywhere in the text.

      iex> {:ok, pattern} = DSPex.Native.JsonSchema.Pattern.compile("^\\\\p{Letter}+$")
      iex> {DSPex.Native.JsonSchema.Pattern.match?(pattern, "Größe"), DSPex.Native.JsonSchema.Pattern.match?(pattern, "1")}
      {true, false}
  """
  @spec match?(t, String.t()) :: boolean
  def match?(pattern, text) do
    limits = [match_limit: @match_limit, match_limit_recursion: @recursion_limit, capture: :none]
    :re.run(text, pattern, limits) == :match
  rescue
    ArgumentError -> false
  end

  @doc """
  The PCRE text of an ECMA pattern.

      iex> DSPex.Native.JsonSchema.Pattern.translate("\\\\p{Letter}\\\\u00e9[^]")
      {:ok, "\\\\p{L}\\\\x{00e9}[\\\\s\\\\S]"}
  """
  @spec translate(String.t()) :: {:ok, String.t()} | {:error, String.t()}
  def translate(source) do
    {:ok, source |> outside([]) |> Enum.reverse() |> IO.iodata_to_binary()}
  catch
    {:malformed, reason} -> {:error, reason}
  end

  defp outside("", done), do: done
  defp outside("[^]" <> rest, done), do: outside(rest, ["[\\s\\S]" | done])
  defp outside("[]" <> rest, done), do: outside(rest, ["(?!)" | done])
  defp outside("[^" <> rest, done), do: inside(rest, ["[^" | done])
  defp outside("[" <> rest, done), do: inside(rest, ["[" | done])
  defp outside("\\s" <> rest, done), do: outside(rest, ["[#{@space}]" | done])
  defp outside("\\S" <> rest, done), do: outside(rest, ["[^#{@space}]" | done])
  defp outside("\\" <> rest, done), do: escape(rest, done, &outside/2)
  # In ECMA these are errors or plain text; PCRE would read verbs, comments and recursion.
  defp outside("(*" <> _rest, _done), do: throw({:malformed, "nothing to repeat after ("})
  defp outside("(?" <> rest, done), do: group(rest, done)
  defp outside(<<character::utf8, rest::binary>>, done), do: outside(rest, [<<character::utf8>> | done])
  defp outside(_invalid, _done), do: throw({:malformed, "it is not UTF-8"})

  defp inside("", _done), do: throw({:malformed, "a character class is not closed"})
  defp inside("]" <> rest, done), do: outside(rest, ["]" | done])
  # PCRE would see a POSIX class or a nested one here.
  defp inside("[" <> rest, done), do: inside(rest, ["\\[" | done])
  defp inside("\\s" <> rest, done), do: inside(rest, [@space | done])
  defp inside("\\b" <> rest, done), do: inside(rest, ["\\x08" | done])
  defp inside("\\" <> rest, done), do: escape(rest, done, &inside/2)
  defp inside(<<character::utf8, rest::binary>>, done), do: inside(rest, [<<character::utf8>> | done])
  defp inside(_invalid, _done), do: throw({:malformed, "it is not UTF-8"})

  defp group(rest, done) do
    case Regex.run(~r/\A(?::|=|!|<=|<!|<[A-Za-z_$][A-Za-z0-9_$]*>)/, rest) do
      [opening] -> outside(String.replace_prefix(rest, opening, ""), ["(?" <> String.replace(opening, "$", "_") | done])
      nil -> throw({:malformed, "(?#{String.slice(rest, 0, 2)} is not an ECMA group"})
    end
  end

  defp escape("p{" <> rest, done, next), do: property("p", rest, done, next)
  defp escape("P{" <> rest, done, next), do: property("P", rest, done, next)

  defp escape("u{" <> rest, done, next) do
    [digits, rest] = split_brace(rest)
    next.(rest, ["\\x{#{digits}}" | done])
  end

  # A pair of surrogates is one character.
  defp escape(<<"u", high::binary-4, "\\u", low::binary-4, rest::binary>> = text, done, next) do
    case {Integer.parse(high, 16), Integer.parse(low, 16)} do
      {{high, ""}, {low, ""}} when high in 0xD800..0xDBFF and low in 0xDC00..0xDFFF ->
        point = 0x10000 + (high - 0xD800) * 0x400 + (low - 0xDC00)
        next.(rest, ["\\x{#{Integer.to_string(point, 16)}}" | done])

      _other ->
        unicode(text, done, next)
    end
  end

  defp escape("u" <> _rest = text, done, next), do: unicode(text, done, next)
  defp escape("v" <> rest, done, next), do: next.(rest, ["\\x0B" | done])
  defp escape("0" <> rest, done, next), do: next.(rest, ["\\x00" | done])
  defp escape("k<" <> rest, done, next), do: next.(rest, ["\\k<" | done])
  defp escape(<<"c", letter, rest::binary>>, done, next), do: next.(rest, [<<"\\c", letter>> | done])

  defp escape(<<character, rest::binary>>, done, next) when character in ~c'dDwWsSbBtnrfx123456789' do
    next.(rest, [<<"\\", character>> | done])
  end

  defp escape(<<character, _rest::binary>>, _done, _next) when character in ?a..?z or character in ?A..?Z do
    throw({:malformed, "\\#{<<character>>} is not an ECMA escape"})
  end

  defp escape(<<character::utf8, rest::binary>>, done, next), do: next.(rest, [<<"\\", character::utf8>> | done])
  defp escape(_end, _done, _next), do: throw({:malformed, "it ends in a backslash"})

  defp unicode("u" <> rest, done, next) do
    case Regex.run(~r/\A[0-9A-Fa-f]{4}/, rest) do
      [digits] -> next.(binary_part(rest, 4, byte_size(rest) - 4), ["\\x{#{digits}}" | done])
      nil -> throw({:malformed, "\\u needs four hexadecimal digits"})
    end
  end

  defp property(letter, rest, done, next) do
    [name, rest] = split_brace(rest)
    next.(rest, [property_text(letter, name) | done])
  end

  defp property_text("p", "Any"), do: "\\x{0}-\\x{10ffff}" |> class()
  defp property_text("p", "ASCII"), do: "\\x00-\\x7f" |> class()

  defp property_text(letter, name) do
    name = String.replace(name, ~r/\A(?:General_Category|gc|Script_Extensions|scx|Script|sc)=/, "")
    "\\#{letter}{#{Map.get(@categories, name, name)}}"
  end

  defp class(members), do: "[#{members}]"

  defp split_brace(text) do
    case String.split(text, "}", parts: 2) do
      [name, rest] -> [name, rest]
      [_all] -> throw({:malformed, "a { is not closed"})
    end
  end

  defp malformed(source, reason) do
    Error.new(:invalid_input, "the pattern #{inspect(source, printable_limit: 200)} cannot be used: #{reason}")
  end
end
