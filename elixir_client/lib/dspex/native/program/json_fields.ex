defmodule DSPex.Native.Program.JsonFields do
  @moduledoc """
  The fields in a growing answer of the JSONAdapter: one object whose members are the fields. Texts come without quotes and
  escapes, other members as the JSON that was written. Each byte is looked at once.

      iex> alias DSPex.Native.Program.JsonFields
      iex> {tokens, state} = JsonFields.feed(JsonFields.new(), ~S({"answer": "for))
      iex> {tokens, elem(JsonFields.feed(state, ~S(ty", "n": 4)), 0)}
      {[{"answer", "for", false}], [{"answer", "ty", true}, {"n", "4", false}]}
  """

  alias DSPex.Native.Program.Trimmed

  defstruct at: :before, key: "", escape: "", depth: 0, trimmed: %Trimmed{}, done: []

  @type t :: %__MODULE__{}
  @typedoc "A field, a piece of its text, and whether it is the last one."
  @type token :: {String.t(), String.t(), boolean}

  @escapes %{?b => "\b", ?f => "\f", ?n => "\n", ?r => "\r", ?t => "\t"}

  @doc "Before the first piece."
  @spec new() :: t
  def new, do: %__MODULE__{}

  @doc "Takes a piece; the tokens are at most one a field, in the order of the answer."
  @spec feed(t, String.t()) :: {[token], t}
  def feed(state, text), do: text |> step(state) |> taken()

  @doc "Ends the answer: a member that is still open gets its last token."
  @spec finish(t) :: [token]
  def finish(%{at: at} = state) when at in [:text, :value, :quoted, :quoted_escape] do
    {tokens, _state} = state |> put("", true) |> taken()
    tokens
  end

  def finish(_state), do: []

  defp taken(state), do: {merged(Enum.reverse(state.done)), %{state | done: []}}

  defp merged(tokens) do
    names = tokens |> Enum.map(&elem(&1, 0)) |> Enum.uniq()
    names |> Enum.map(&joined(&1, tokens)) |> Enum.filter(fn {_name, text, last?} -> text != "" or last? end)
  end

  defp joined(name, tokens) do
    own = Enum.filter(tokens, &(elem(&1, 0) == name))
    {name, Enum.map_join(own, &elem(&1, 1)), Enum.any?(own, &elem(&1, 2))}
  end

  defp put(state, text, last? \\ false), do: %{state | done: [{state.key, text, last?} | state.done]}

  defp step("", state), do: state

  defp step(text, %{at: :text, escape: ""} = state) do
    case :binary.match(text, ["\"", "\\"]) do
      {at, 1} ->
        <<run::binary-size(at), char, rest::binary>> = text
        step(rest, ended(char, put(state, run)))

      :nomatch ->
        put(state, text)
    end
  end

  defp step(<<char, rest::binary>>, %{at: :text} = state), do: step(rest, escaped(state, state.escape <> <<char>>))
  defp step(<<char, rest::binary>>, state), do: step(rest, char(state.at, char, state))

  defp ended(?", state), do: %{put(state, "", true) | at: :between}
  defp ended(?\\, state), do: %{state | escape: "\\"}

  # A high surrogate waits for its other half.
  defp escaped(state, <<?\\, ?u, digits::binary>> = escape) do
    cond do
      byte_size(digits) == 4 and high?(digits) -> %{state | escape: escape}
      byte_size(digits) in [4, 10] -> put(%{state | escape: ""}, decoded(escape))
      true -> %{state | escape: escape}
    end
  end

  defp escaped(state, <<?\\, char>>), do: put(%{state | escape: ""}, Map.get(@escapes, char, <<char>>))

  defp high?(<<d, second, _rest::binary>>), do: d in ~c'dD' and second in ~c'89abAB'

  defp decoded(escape) do
    case DSPex.Native.Adapter.PythonJson.decode("\"" <> escape <> "\"") do
      {:ok, text} -> if String.contains?(text, "\uFFFD"), do: "\uFFFD", else: text
      :error -> escape
    end
  end

  defp char(:before, ?{, state), do: %{state | at: :between}
  defp char(:between, ?", state), do: %{state | at: :key, key: ""}
  defp char(:between, ?}, state), do: %{state | at: :behind}
  defp char(:key, ?\\, state), do: %{state | at: :key_escape}
  defp char(:key, ?", state), do: %{state | at: :before_value}
  defp char(:key, char, state), do: %{state | key: state.key <> <<char>>}
  defp char(:key_escape, char, state), do: %{state | at: :key, key: state.key <> <<?\\, char>>}
  defp char(:before_value, char, state) when char in [?:, ?\s, ?\t, ?\r, ?\n], do: state
  defp char(:before_value, ?", state), do: %{put(state, "") | at: :text}
  defp char(:before_value, char, state), do: char(:value, char, %{state | at: :value, depth: 0, trimmed: %Trimmed{}})
  defp char(:value, ?,, %{depth: 0} = state), do: %{put(state, "", true) | at: :between}
  defp char(:value, ?}, %{depth: 0} = state), do: %{put(state, "", true) | at: :behind}
  defp char(:value, ?", state), do: %{keep(state, ?") | at: :quoted}
  defp char(:value, char, state) when char in [?[, ?{], do: keep(%{state | depth: state.depth + 1}, char)
  defp char(:value, char, state) when char in [?], ?}], do: keep(%{state | depth: state.depth - 1}, char)
  defp char(:value, char, state), do: keep(state, char)
  defp char(:quoted, ?\\, state), do: %{keep(state, ?\\) | at: :quoted_escape}
  defp char(:quoted, ?", state), do: %{keep(state, ?") | at: :value}
  defp char(:quoted, char, state), do: keep(state, char)
  defp char(:quoted_escape, char, state), do: %{keep(state, char) | at: :quoted}
  # In front of the object, between its members and behind it nothing counts.
  defp char(_elsewhere, _char, state), do: state

  # Bytes of wide characters are never white space by themselves.
  defp keep(state, char) when char >= 0x80 do
    held = state.trimmed.held
    put(%{state | trimmed: %Trimmed{started?: true}}, held <> <<char>>)
  end

  defp keep(state, char) do
    {text, trimmed} = Trimmed.push(state.trimmed, <<char>>)
    put(%{state | trimmed: trimmed}, text)
  end
end
