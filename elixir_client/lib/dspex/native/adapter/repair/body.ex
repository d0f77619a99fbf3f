defmodule DSPex.Native.Adapter.Repair.Body do
  @moduledoc false
  # The body of a text: character by character, deciding at quotes, commas and braces whether the text ends there.

  import DSPex.Native.Adapter.Repair.Look
  import DSPex.Native.Adapter.Repair.Text, only: [add: 2, escaped?: 1, low?: 1, outer: 1]
  import DSPex.Native.Python, only: [is_space: 1]

  alias DSPex.Native.Adapter.Repair.Ahead
  alias DSPex.Native.Adapter.Repair.Escapes
  alias DSPex.Native.Adapter.Repair.Look
  alias DSPex.Native.Adapter.Repair.Quotes
  alias DSPex.Native.Adapter.Repair.Text
  alias DSPex.Native.Python

  @type step :: {:next, Text.t(), Look.t()} | {:stop, Text.t(), Look.t()} | :no

  @spec read(Text.t(), Look.t()) :: {String.t(), Look.t()}
  def read(state, look), do: scan(state, look, at(look))

  defp scan(state, look, nil), do: finish(state, look, nil)

  defp scan(state, look, char) do
    if char == outer(state) and not low?(state),
      do: finish(state, look, char),
      else: state |> step(look, char) |> advance()
  end

  defp advance({:next, state, look}), do: scan(state, look, at(look))
  defp advance({:stop, state, look}), do: finish(state, look, at(look))

  # What decides before the character is taken; the first that has an answer wins.
  defp step(state, look, char) do
    with :no <- bare(state, look, char),
         :no <- low_quotes(state, look, char),
         :no <- inline(state, look, char),
         :no <- comma(state, look, char),
         {:no, state} <- stacked(state, look, char),
         {:no, look} <- brace(state, look, char),
         :no <- bracket(state, look, char),
         :no <- last_brace(state, look, char) do
      taken(add(state, [char]), move(look))
    end
  end

  defp bare(%{bare?: true} = state, look, char) do
    case current(look) do
      :key when char == ?: or is_space(char) -> {:stop, state, look}
      :array when char in [?], ?,] -> {:stop, state, look}
      _other -> :no
    end
  end

  defp bare(_state, _look, _char), do: :no

  defp low_quotes(state, look, char) do
    cond do
      char == ?„ and not escaped?(state) -> {:next, add(Text.open_low(state), [char]), move(look)}
      char == ?” and low?(state) -> {:next, add(Text.close(state), [char]), move(look)}
      true -> :no
    end
  end

  # A balanced container inside a text belongs to it.
  defp inline(state, look, char) do
    with true <- char in [?{, ?[, ?(] and not escaped?(state),
         true <- state.pending? or inline_object?(look, char),
         stop when stop != nil <- Ahead.skip_container(look, 0) do
      state = add(%{state | pending?: false, stack: []}, slice(look, look.index, look.index + stop))
      {:next, state, move(look, stop)}
    else
      _other -> :no
    end
  end

  defp inline_object?(look, ?{),
    do: current(look) == :value and at(look, -1) != ?\\ and Ahead.bare_key?(look, scroll(look, 1))

  defp inline_object?(_look, _char), do: false

  defp comma(%{pending?: false, stack: []} = state, look, ?,) do
    if current(look) == :value, do: comma(state, look), else: :no
  end

  defp comma(_state, _look, _char), do: :no

  defp comma(state, look) do
    case if(state.no_delimiter?, do: :string, else: Ahead.comma(look)) do
      :member -> {:stop, state, look}
      :no_delimiter -> {:next, add(%{state | no_delimiter?: true, pending?: false}, [?,]), move(look)}
      kind -> {:next, add(%{state | pending?: kind == :container}, [?,]), move(look)}
    end
  end

  # An opening bracket is only remembered; it is taken like any other character.
  defp stacked(%{pending?: true} = state, _look, char) when char in [?{, ?[],
    do: {:no, %{state | pending?: false, stack: [char | state.stack]}}

  defp stacked(%{stack: [_open | _outer]} = state, _look, char) when char in [?{, ?[],
    do: {:no, %{state | stack: [char | state.stack]}}

  defp stacked(%{stack: [?{ | stack]} = state, look, ?}), do: {:next, add(%{state | stack: stack}, [?}]), move(look)}
  defp stacked(%{stack: [?[ | stack]} = state, look, ?]), do: {:next, add(%{state | stack: stack}, [?]]), move(look)}
  defp stacked(state, _look, _char), do: {:no, state}

  # Does the brace close the object, its text lacking a quote?
  defp brace(state, look, ?}) do
    cond do
      current(look) != :value or List.first(state.text) == outer(state) -> {:no, look}
      state.braces > 0 -> {:next, add(state, [?}]), move(look)}
      true -> closing(state, skip_spaces(look))
    end
  end

  defp brace(_state, look, _char), do: {:no, look}

  defp closing(state, look) do
    stop = skip_to(look, outer(state), 1)

    case if(at(look, stop), do: quote_behind(state, look, stop), else: no_quote_behind(look)) do
      :stop -> {:stop, state, look}
      missing? -> if missing? and at(look, 1) != ?\\, do: {:stop, state, look}, else: {:no, look}
    end
  end

  defp quote_behind(state, look, stop) do
    offset = scroll(look, stop + 1)

    if at(look, offset) in [nil, ?,, ?}] do
      false
    else
      left = skip_to(look, state.left, offset)
      at(look, left) != nil and at(look, scroll(look, left + 1)) in [nil, ?:]
    end
  end

  defp no_quote_behind(look) do
    offset = scroll(look, 1)

    cond do
      at(look, skip_to(look, ?:, 1)) != nil -> :stop
      skip_to(look, ?}, offset) - offset > 1 -> false
      true -> true
    end
  end

  defp bracket(state, look, ?]) do
    if :array in look.context and List.first(state.text) != outer(state) and
         at(look, skip_to(look, outer(state))) == nil,
       do: {:stop, state, look},
       else: :no
  end

  defp bracket(_state, _look, _char), do: :no

  defp last_brace(state, look, ?}) do
    offset = scroll(look, 1)

    cond do
      current(look) != :value -> :no
      at(look, offset) == nil -> {:stop, state, look}
      slice(look, look.index + offset, look.index + offset + 3) == ~c'```' -> fence(state, look, offset)
      true -> :no
    end
  end

  defp last_brace(_state, _look, _char), do: :no

  defp fence(state, look, offset) do
    case Ahead.fence_in_text(look, outer(state), offset) do
      :text -> {:next, add(state, [?}]), move(look)}
      :pending -> {:next, add(%{state | pending?: true}, [?}]), move(look)}
      :end -> {:stop, state, look}
    end
  end

  # The character is taken; what follows may be an escape, a colon or a quote that has to be judged.
  defp taken(state, look) do
    case at(look) do
      nil -> {:next, state, look}
      char -> escape(state, look, char)
    end
  end

  defp escape(state, look, char) do
    if escaped?(state) do
      case Escapes.normalize(state, look, char) do
        {:ok, state, look} -> {:next, state, look}
        :no -> judge(state, look, char)
      end
    else
      judge(state, look, char)
    end
  end

  defp judge(state, look, char) do
    cond do
      char == ?: and not state.bare? and current(look) == :key and key_ends?(state, look) ->
        {:stop, state, look}

      low?(state) and char == ?" ->
        {:next, add(Text.close(state), [char]), move(look)}

      char == outer(state) and current(look) == :value and in_class?(state, look) ->
        {:next, add(state, [char]), move(look)}

      char == outer(state) and state.text != [] and not escaped?(state) ->
        Quotes.judge(state, look, char)

      true ->
        {:next, state, look}
    end
  end

  defp key_ends?(state, look) do
    left = skip_to(look, state.left, 1)

    if at(look, left) do
      right = skip_to(look, outer(state), left + 1)
      at(look, right) != nil and at(look, scroll(look, right + 1)) in [?,, ?}]
    else
      true
    end
  end

  # A quote inside a character class of a regular expression: `["']`.
  defp in_class?(%{class: nil}, _look), do: false

  defp in_class?(state, look) do
    inside = Enum.take(state.text, state.length - state.class)
    not Enum.any?(inside, &is_space/1) and at(look, skip_to(look, ?], 1)) == ?]
  end

  defp finish(state, look, char) do
    look =
      if char != nil and state.bare? and current(look) == :key and is_space(char),
        do: {:comment, skip_spaces(look)},
        else: look

    case look do
      {:comment, look} -> if at(look) in [?:, ?,], do: finished(state, look, char), else: {"", look}
      look -> finished(state, look, char)
    end
  end

  defp finished(state, look, char) do
    closed? = char == outer(state)
    text = state.text |> Enum.reverse() |> List.to_string()

    text =
      if closed? and not state.bare? and not String.ends_with?(text, "\n"), do: text, else: Python.strip_trailing(text)

    {text, if(closed?, do: move(look), else: look)}
  end
end
