defmodule DSPex.Native.Adapter.Repair.Ahead do
  @moduledoc false
  # Looks ahead of a text that may lack its closing quote: does a comma, a container or a fence belong to it?

  import DSPex.Native.Adapter.Repair.Look
  import DSPex.Native.Python, only: [is_space: 1]

  alias DSPex.Native.Adapter.Repair.Look

  @quotes [?", ?', ?“, ?”]
  @closing %{?[ => ?], ?{ => ?}, ?( => ?)}

  @doc "What the comma at the place of an object's value begins: the next member, a container, or more text."
  @spec comma(Look.t()) :: :member | :container | :string | :no_delimiter
  def comma(look) do
    offset = scroll(look, 1)
    next = at(look, offset)

    cond do
      next in [?}, nil] -> :member
      next in @quotes -> member(look, next, offset)
      next == ?` -> if at(look, key_end(look, offset + 1)) == ?:, do: :member, else: :string
      true -> bare_member(look, next, offset)
    end
  end

  defp member(look, quote, offset) do
    stop = skip_to(look, quote, offset + 1)

    if at(look, stop) != nil and at(look, scroll(look, stop + 1)) == ?:, do: :member, else: :string
  end

  defp key_end(look, offset), do: if(word?(at(look, offset)), do: key_end(look, offset + 1), else: scroll(look, offset))

  defp bare_member(look, next, offset) do
    stop = if alnum?(next) or next == ?_, do: key_end(look, offset)

    cond do
      stop && at(look, stop) == ?: && recoverable?(look, scroll(look, stop + 1)) -> :member
      next in [?{, ?[] -> :container
      true -> special(look, skip_to(look, [?{, ?[ | @quotes], offset))
    end
  end

  defp special(look, offset) do
    case at(look, offset) do
      nil -> :no_delimiter
      char when char in [?{, ?[] -> :string
      quote -> member(look, quote, offset)
    end
  end

  # Only a value that ends by itself makes a bare word before a colon a key.
  defp recoverable?(look, offset) do
    char = at(look, offset)

    char in [?{, ?[, ?- | @quotes] or digit?(char) or
      Enum.any?([~c'true', ~c'false', ~c'null'], &literal?(look, offset, &1)) or
      at(look, skip_to(look, [?} | @quotes], offset)) == ?}
  end

  defp literal?(look, offset, word) do
    size = length(word)
    next = at(look, offset + size)
    Enum.map(0..(size - 1), &at(look, offset + &1)) == word and (next in [nil, ?,, ?}, ?]] or is_space(next))
  end

  @doc "Whether a bare word at the offset is followed by a colon."
  @spec bare_key?(Look.t(), integer) :: boolean
  def bare_key?(look, offset) do
    char = at(look, offset)
    (alnum?(char) or char == ?_) and at(look, key_end(look, offset)) == ?:
  end

  @doc "The offset behind a balanced container, or `nil`."
  @spec skip_container(Look.t(), integer) :: integer | nil
  def skip_container(look, offset) do
    case @closing[at(look, offset)] do
      nil -> offset
      closing -> balanced(look, offset + 1, [closing])
    end
  end

  defp balanced(look, offset, [closing | open] = stack) do
    char = at(look, offset)

    cond do
      char == nil -> nil
      char in @quotes -> quoted(look, offset, char, stack)
      is_map_key(@closing, char) and nested?(look, offset) -> balanced(look, offset + 1, [@closing[char] | stack])
      char == closing and open == [] -> offset + 1
      char == closing -> balanced(look, offset + 1, open)
      true -> balanced(look, offset + 1, stack)
    end
  end

  defp quoted(look, offset, char, stack) do
    quote = matching(char)
    stop = skip_to(look, quote, offset + 1)
    if at(look, stop) == quote, do: balanced(look, stop + 1, stack), else: nil
  end

  defp matching(?“), do: ?”
  defp matching(char), do: char

  # Brackets in prose open nothing: one does that stands where a value may.
  defp nested?(look, offset) do
    case last(look, offset - 1) do
      nil -> true
      char when char in [?[, ?{, ?(] -> true
      char when char in [?,, ?:] -> opens?(look, at(look, offset), char, scroll(look, offset + 1))
      _other -> false
    end
  end

  defp last(_look, offset) when offset < 0, do: nil

  defp last(look, offset) do
    case at(look, offset) do
      char when is_space(char) -> last(look, offset - 1)
      char -> char
    end
  end

  defp opens?(look, opening, _before, next) when opening in [?[, ?(] do
    char = at(look, next)
    char in [?], ?), ?-, ?[, ?{, ?(, ?t, ?f, ?n | @quotes] or digit?(char)
  end

  defp opens?(look, ?{, before, next), do: at(look, next) in [?} | @quotes] or (before == ?: and bare_key?(look, next))

  @doc "Whether a quoted text that ends at the offset is followed by a comma and another member."
  @spec member_follows?(Look.t(), integer) :: boolean
  def member_follows?(look, offset) do
    comma = scroll(look, offset + 1)
    at(look, comma) == ?, and member_at?(look, past_comments(look, comma + 1))
  end

  defp member_at?(look, offset) do
    case at(look, offset) do
      char when char in [?}, nil] -> false
      char when char in @quotes -> key?(look, offset, matching(char))
      _char -> bare_key?(look, offset)
    end
  end

  defp key?(look, offset, quote) do
    stop = skip_to(look, quote, offset + 1)
    at(look, stop) == quote and at(look, scroll(look, stop + 1)) == ?:
  end

  @doc "Whether the brace before a code fence belongs to the text, or ends it."
  @spec fence_in_text(Look.t(), non_neg_integer, integer) :: :text | :pending | :end
  def fence_in_text(look, quote, fence) do
    offset = past_comments(look, fence + 3)
    stop = if is_map_key(@closing, at(look, offset)), do: skip_container(look, offset)

    cond do
      stop == nil -> closed(look, quote, skip_to(look, quote, fence + 3), :text)
      next_member?(look, stop) -> :end
      true -> closed(look, quote, skip_to(look, quote, stop), :pending)
    end
  end

  defp next_member?(look, stop) do
    offset = scroll(look, stop)

    case at(look, offset) do
      char when char in [?}, nil] -> true
      ?, -> member_or_end?(look, past_comments(look, offset + 1))
      _other -> false
    end
  end

  defp member_or_end?(look, offset), do: at(look, offset) in [?}, nil] or member_at?(look, offset)

  defp closed(look, quote, offset, answer) do
    cond do
      at(look, offset) != quote -> :end
      at(look, scroll(look, offset + 1)) in [?,, ?}, ?], nil] -> answer
      true -> closed(look, quote, skip_to(look, quote, offset + 1), answer)
    end
  end

  defp past_comments(look, offset) do
    offset = scroll(look, offset)

    case {at(look, offset), at(look, offset + 1)} do
      {?#, _next} -> past_comments(look, line_end(look, offset))
      {?/, ?/} -> past_comments(look, line_end(look, offset + 2))
      {?/, ?*} -> look |> block_end(offset + 2) |> then(&if at(look, &1) == nil, do: &1, else: past_comments(look, &1))
      _other -> offset
    end
  end

  defp line_end(look, offset), do: if(at(look, offset) in [nil, ?\n, ?\r], do: offset, else: line_end(look, offset + 1))

  defp block_end(look, offset) do
    case {at(look, offset), at(look, offset + 1)} do
      {nil, _next} -> offset
      {?*, ?/} -> offset + 2
      _other -> block_end(look, offset + 1)
    end
  end
end
